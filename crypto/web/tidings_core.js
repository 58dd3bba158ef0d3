/* @ts-self-types="./tidings_core.d.ts" */

/**
 * What one device has published, with the lengths of its fields checked.
 */
export class Bundle {
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        BundleFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_bundle_free(ptr, 0);
    }
    /**
     * The device's public agreement key.
     * @returns {Uint8Array}
     */
    get agreement() {
        const ret = wasm.bundle_agreement(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * Throws Malformed if a field has not its length. Verifies no signature.
     * @param {BundleFields} fields
     */
    constructor(fields) {
        const ret = wasm.bundle_new(fields);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        this.__wbg_ptr = ret[0];
        BundleFinalization.register(this, this.__wbg_ptr, this);
        return this;
    }
    /**
     * The device's public signing key.
     * @returns {Uint8Array}
     */
    get signing() {
        const ret = wasm.bundle_signing(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * Throws BadSignature or BadKey unless the signing key vouches for the other keys. Whose
     * signing key it is, only the caller can know.
     */
    verify() {
        const ret = wasm.bundle_verify(this.__wbg_ptr);
        if (ret[1]) {
            throw takeFromExternrefTable0(ret[0]);
        }
    }
}
if (Symbol.dispose) Bundle.prototype[Symbol.dispose] = Bundle.prototype.free;

/**
 * The keys of one device: a signing key, and an agreement key that it vouches for.
 */
export class DeviceKeys {
    static __wrap(ptr) {
        const obj = Object.create(DeviceKeys.prototype);
        obj.__wbg_ptr = ptr;
        DeviceKeysFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        DeviceKeysFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_devicekeys_free(ptr, 0);
    }
    /**
     * The signing key's word for the agreement key (64 bytes).
     * @returns {Uint8Array}
     */
    get agreementSignature() {
        const ret = wasm.devicekeys_agreementSignature(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * The public agreement key (X25519, 32 bytes).
     * @returns {Uint8Array}
     */
    get agreement() {
        const ret = wasm.devicekeys_agreement(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * New ones.
     * @returns {DeviceKeys}
     */
    static generate() {
        const ret = wasm.devicekeys_generate();
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return DeviceKeys.__wrap(ret[0]);
    }
    /**
     * Those that `save` wrote.
     * @param {Uint8Array | number[]} state
     * @returns {DeviceKeys}
     */
    static load(state) {
        const ptr0 = passArray8ToWasm0(state, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.devicekeys_load(ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return DeviceKeys.__wrap(ret[0]);
    }
    /**
     * All there is to know of them. Secret.
     * @returns {Uint8Array}
     */
    save() {
        const ret = wasm.devicekeys_save(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * Signs a KEM prekey and the id that it is published under.
     * @param {bigint} id
     * @param {Uint8Array | number[]} _public
     * @returns {Uint8Array}
     */
    signKemPrekey(id, _public) {
        const val2 = BigInt.asIntN(64, id);
        const ptr0 = passArray8ToWasm0(_public, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.devicekeys_signKemPrekey(this.__wbg_ptr, val2, ptr0, len0);
        if (ret[3]) {
            throw takeFromExternrefTable0(ret[2]);
        }
        var v3 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v3;
    }
    /**
     * Signs a prekey and the id that it is published under.
     * @param {bigint} id
     * @param {Uint8Array | number[]} _public
     * @returns {Uint8Array}
     */
    signPrekey(id, _public) {
        const val2 = BigInt.asIntN(64, id);
        const ptr0 = passArray8ToWasm0(_public, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.devicekeys_signPrekey(this.__wbg_ptr, val2, ptr0, len0);
        if (ret[3]) {
            throw takeFromExternrefTable0(ret[2]);
        }
        var v3 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v3;
    }
    /**
     * A signature of the device, as `SigningKey.sign`.
     * @param {string} tag
     * @param {Uint8Array | number[]} message
     * @returns {Uint8Array}
     */
    sign(tag, message) {
        let ptr0, len0, ptr1, len1;
        try {
            ptr0 = passStringToWasm0(tag, wasm.__wbindgen_malloc, wasm.__wbindgen_realloc);
            len0 = WASM_VECTOR_LEN;
            ptr1 = passArray8ToWasm0(message, wasm.__wbindgen_malloc);
            len1 = WASM_VECTOR_LEN;
        } catch (e) {
            if (ptr1) { wasm.__wbindgen_free(ptr1, len1 * 1, 1); }
            if (ptr0) { wasm.__wbindgen_free(ptr0, len0 * 1, 1); }
            throw e;
        }
        const ret = wasm.devicekeys_sign(this.__wbg_ptr, ptr0, len0, ptr1, len1);
        if (ret[3]) {
            throw takeFromExternrefTable0(ret[2]);
        }
        var v3 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v3;
    }
    /**
     * The public signing key (Ed25519, 32 bytes).
     * @returns {Uint8Array}
     */
    get signing() {
        const ret = wasm.devicekeys_signing(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
}
if (Symbol.dispose) DeviceKeys.prototype[Symbol.dispose] = DeviceKeys.prototype.free;

/**
 * A group's message, decrypted.
 */
export class GroupMessage {
    static __wrap(ptr) {
        const obj = Object.create(GroupMessage.prototype);
        obj.__wbg_ptr = ptr;
        GroupMessageFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        GroupMessageFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_groupmessage_free(ptr, 0);
    }
    /**
     * Its index: one seen before with another message is a replay.
     * @returns {number}
     */
    get index() {
        const ret = wasm.__wbg_get_groupmessage_index(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * What it says.
     * @returns {Uint8Array}
     */
    get plaintext() {
        const ret = wasm.__wbg_get_groupmessage_plaintext(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * Its index: one seen before with another message is a replay.
     * @param {number} arg0
     */
    set index(arg0) {
        wasm.__wbg_set_groupmessage_index(this.__wbg_ptr, arg0);
    }
    /**
     * What it says.
     * @param {Uint8Array | number[]} arg0
     */
    set plaintext(arg0) {
        const ptr0 = passArray8ToWasm0(arg0, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        wasm.__wbg_set_groupmessage_plaintext(this.__wbg_ptr, ptr0, len0);
    }
}
if (Symbol.dispose) GroupMessage.prototype[Symbol.dispose] = GroupMessage.prototype.free;

/**
 * What a message tells of the handshake in it, before anything of it is verified.
 */
export class Handshake {
    static __wrap(ptr) {
        const obj = Object.create(Handshake.prototype);
        obj.__wbg_ptr = ptr;
        HandshakeFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        HandshakeFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_handshake_free(ptr, 0);
    }
    /**
     * The initiator's public agreement key.
     * @returns {Uint8Array}
     */
    get agreement() {
        const ret = wasm.handshake_agreement(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * Which KEM prekey it used.
     * @returns {bigint}
     */
    get kemId() {
        const ret = wasm.handshake_kemId(this.__wbg_ptr);
        return BigInt.asUintN(64, ret);
    }
    /**
     * Which one-time prekey it used, if any.
     * @returns {bigint | undefined}
     */
    get oneTimeId() {
        const ret = wasm.handshake_oneTimeId(this.__wbg_ptr);
        return ret[0] === 0 ? undefined : BigInt.asUintN(64, ret[1]);
    }
    /**
     * Which signed prekey it used.
     * @returns {bigint}
     */
    get prekeyId() {
        const ret = wasm.handshake_prekeyId(this.__wbg_ptr);
        return BigInt.asUintN(64, ret);
    }
    /**
     * The session that it begins or belongs to (32 bytes).
     * @returns {Uint8Array}
     */
    get sessionId() {
        const ret = wasm.handshake_sessionId(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * The initiator's public signing key: to be looked up in its user's device list.
     * @returns {Uint8Array}
     */
    get signing() {
        const ret = wasm.handshake_signing(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
}
if (Symbol.dispose) Handshake.prototype[Symbol.dispose] = Handshake.prototype.free;

/**
 * A session that a first message began, and what the message says.
 */
export class Inbound {
    static __wrap(ptr) {
        const obj = Object.create(Inbound.prototype);
        obj.__wbg_ptr = ptr;
        InboundFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        InboundFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_inbound_free(ptr, 0);
    }
    /**
     * The session; this object is used up.
     * @returns {Session}
     */
    intoSession() {
        const ptr = this.__destroy_into_raw();
        const ret = wasm.inbound_intoSession(ptr);
        return Session.__wrap(ret);
    }
    /**
     * What the message says.
     * @returns {Uint8Array}
     */
    get plaintext() {
        const ret = wasm.inbound_plaintext(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
}
if (Symbol.dispose) Inbound.prototype[Symbol.dispose] = Inbound.prototype.free;

/**
 * An ML-KEM-1024 key to publish, signed.
 */
export class KemPrekey {
    static __wrap(ptr) {
        const obj = Object.create(KemPrekey.prototype);
        obj.__wbg_ptr = ptr;
        KemPrekeyFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        KemPrekeyFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_kemprekey_free(ptr, 0);
    }
    /**
     * A new one.
     * @returns {KemPrekey}
     */
    static generate() {
        const ret = wasm.kemprekey_generate();
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return KemPrekey.__wrap(ret[0]);
    }
    /**
     * The one whose secret this is (64 bytes).
     * @param {Uint8Array | number[]} secret
     * @returns {KemPrekey}
     */
    static load(secret) {
        const ptr0 = passArray8ToWasm0(secret, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.kemprekey_load(ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return KemPrekey.__wrap(ret[0]);
    }
    /**
     * What is published (1,568 bytes).
     * @returns {Uint8Array}
     */
    get public() {
        const ret = wasm.kemprekey_public(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * What `load` takes: the seed of the pair.
     * @returns {Uint8Array}
     */
    secret() {
        const ret = wasm.kemprekey_secret(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
}
if (Symbol.dispose) KemPrekey.prototype[Symbol.dispose] = KemPrekey.prototype.free;

/**
 * An X25519 key to publish: signed and kept for a while, or for one session.
 */
export class Prekey {
    static __wrap(ptr) {
        const obj = Object.create(Prekey.prototype);
        obj.__wbg_ptr = ptr;
        PrekeyFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        PrekeyFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_prekey_free(ptr, 0);
    }
    /**
     * A new one.
     * @returns {Prekey}
     */
    static generate() {
        const ret = wasm.prekey_generate();
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return Prekey.__wrap(ret[0]);
    }
    /**
     * The one whose secret this is (32 bytes).
     * @param {Uint8Array | number[]} secret
     * @returns {Prekey}
     */
    static load(secret) {
        const ptr0 = passArray8ToWasm0(secret, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.prekey_load(ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return Prekey.__wrap(ret[0]);
    }
    /**
     * What is published (32 bytes).
     * @returns {Uint8Array}
     */
    get public() {
        const ret = wasm.prekey_public(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * What `load` takes.
     * @returns {Uint8Array}
     */
    secret() {
        const ret = wasm.prekey_secret(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
}
if (Symbol.dispose) Prekey.prototype[Symbol.dispose] = Prekey.prototype.free;

/**
 * Somebody else's key of a group. It reads a message as often as it is asked to.
 */
export class ReceivedSenderKey {
    static __wrap(ptr) {
        const obj = Object.create(ReceivedSenderKey.prototype);
        obj.__wbg_ptr = ptr;
        ReceivedSenderKeyFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        ReceivedSenderKeyFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_receivedsenderkey_free(ptr, 0);
    }
    /**
     * Throws Undecryptable for a message of another key, changed, or from before `firstIndex`.
     * @param {Uint8Array | number[]} message
     * @returns {GroupMessage}
     */
    decrypt(message) {
        const ptr0 = passArray8ToWasm0(message, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.receivedsenderkey_decrypt(this.__wbg_ptr, ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return GroupMessage.__wrap(ret[0]);
    }
    /**
     * The index of the first message that it can decrypt.
     * @returns {number}
     */
    get firstIndex() {
        const ret = wasm.receivedsenderkey_firstIndex(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * The one that `save` wrote.
     * @param {Uint8Array | number[]} state
     * @returns {ReceivedSenderKey}
     */
    static load(state) {
        const ptr0 = passArray8ToWasm0(state, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.receivedsenderkey_load(ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return ReceivedSenderKey.__wrap(ret[0]);
    }
    /**
     * From what the sender's `share` gave. Throws BadSignature or BadKey.
     * @param {Uint8Array | number[]} shared
     */
    constructor(shared) {
        const ptr0 = passArray8ToWasm0(shared, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.receivedsenderkey_new(ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        this.__wbg_ptr = ret[0];
        ReceivedSenderKeyFinalization.register(this, this.__wbg_ptr, this);
        return this;
    }
    /**
     * All there is to know of it. Secret.
     * @returns {Uint8Array}
     */
    save() {
        const ret = wasm.receivedsenderkey_save(this.__wbg_ptr);
        if (ret[3]) {
            throw takeFromExternrefTable0(ret[2]);
        }
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
}
if (Symbol.dispose) ReceivedSenderKey.prototype[Symbol.dispose] = ReceivedSenderKey.prototype.free;

/**
 * Sealed content, and the key that opens it.
 */
export class Sealed {
    static __wrap(ptr) {
        const obj = Object.create(Sealed.prototype);
        obj.__wbg_ptr = ptr;
        SealedFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        SealedFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_sealed_free(ptr, 0);
    }
    /**
     * 32 bytes.
     * @returns {Uint8Array}
     */
    get key() {
        const ret = wasm.__wbg_get_sealed_key(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * What the key opens.
     * @returns {Uint8Array}
     */
    get sealed() {
        const ret = wasm.__wbg_get_sealed_sealed(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * 32 bytes.
     * @param {Uint8Array | number[]} arg0
     */
    set key(arg0) {
        const ptr0 = passArray8ToWasm0(arg0, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        wasm.__wbg_set_sealed_key(this.__wbg_ptr, ptr0, len0);
    }
    /**
     * What the key opens.
     * @param {Uint8Array | number[]} arg0
     */
    set sealed(arg0) {
        const ptr0 = passArray8ToWasm0(arg0, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        wasm.__wbg_set_sealed_sealed(this.__wbg_ptr, ptr0, len0);
    }
}
if (Symbol.dispose) Sealed.prototype[Symbol.dispose] = Sealed.prototype.free;

/**
 * One's own key of a group: each message is encrypted once for all members.
 */
export class SenderKey {
    static __wrap(ptr) {
        const obj = Object.create(SenderKey.prototype);
        obj.__wbg_ptr = ptr;
        SenderKeyFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        SenderKeyFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_senderkey_free(ptr, 0);
    }
    /**
     * A message for all members. Next, save the key before the message leaves.
     * @param {Uint8Array | number[]} plaintext
     * @returns {Uint8Array}
     */
    encrypt(plaintext) {
        const ptr0 = passArray8ToWasm0(plaintext, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.senderkey_encrypt(this.__wbg_ptr, ptr0, len0);
        var v2 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v2;
    }
    /**
     * A new one.
     * @returns {SenderKey}
     */
    static generate() {
        const ret = wasm.senderkey_generate();
        return SenderKey.__wrap(ret);
    }
    /**
     * How many messages it has encrypted; the index of the next one.
     * @returns {number}
     */
    get index() {
        const ret = wasm.senderkey_index(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * The one that `save` wrote.
     * @param {Uint8Array | number[]} state
     * @returns {SenderKey}
     */
    static load(state) {
        const ptr0 = passArray8ToWasm0(state, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.senderkey_load(ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return SenderKey.__wrap(ret[0]);
    }
    /**
     * All there is to know of it. Secret.
     * @returns {Uint8Array}
     */
    save() {
        const ret = wasm.senderkey_save(this.__wbg_ptr);
        if (ret[3]) {
            throw takeFromExternrefTable0(ret[2]);
        }
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * What members need to read from the next message on. Secret: it goes through sessions.
     * @returns {Uint8Array}
     */
    share() {
        const ret = wasm.senderkey_share(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
}
if (Symbol.dispose) SenderKey.prototype[Symbol.dispose] = SenderKey.prototype.free;

/**
 * One side of a session between two devices.
 *
 * A chain keeps the keys of the 40 messages last skipped, for five chains; a message more than
 * 2,000 ahead in its chain is refused.
 */
export class Session {
    static __wrap(ptr) {
        const obj = Object.create(Session.prototype);
        obj.__wbg_ptr = ptr;
        SessionFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        SessionFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_session_free(ptr, 0);
    }
    /**
     * What the peer's message says. Next, save the session together with it.
     *
     * Throws Undecryptable for a message that was read before, is too far ahead, or whose key is no
     * longer kept; BadKey. After an error the session is what it was before.
     * @param {Uint8Array | number[]} message
     * @returns {Uint8Array}
     */
    decrypt(message) {
        const ptr0 = passArray8ToWasm0(message, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.session_decrypt(this.__wbg_ptr, ptr0, len0);
        if (ret[3]) {
            throw takeFromExternrefTable0(ret[2]);
        }
        var v2 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v2;
    }
    /**
     * A message for the peer. Next, save the session before the message leaves.
     * @param {Uint8Array | number[]} plaintext
     * @returns {Uint8Array}
     */
    encrypt(plaintext) {
        const ptr0 = passArray8ToWasm0(plaintext, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.session_encrypt(this.__wbg_ptr, ptr0, len0);
        if (ret[3]) {
            throw takeFromExternrefTable0(ret[2]);
        }
        var v2 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v2;
    }
    /**
     * Answers the handshake in a message. Next, delete the one-time prekey together with saving
     * the session; the object of it that is handed in is used up. The caller checks that the signing
     * key is in the device list of who it should be.
     *
     * Throws Undecryptable if a secret or the context is another than the initiator's, BadSignature
     * or BadKey if its keys are bad.
     * @param {DeviceKeys} device
     * @param {Uint8Array | number[]} message
     * @param {Prekey} prekey
     * @param {KemPrekey} kem
     * @param {Prekey | null | undefined} oneTime
     * @param {Uint8Array | number[]} context
     * @returns {Inbound}
     */
    static inbound(device, message, prekey, kem, oneTime, context) {
        _assertClass(device, DeviceKeys);
        _assertClass(prekey, Prekey);
        _assertClass(kem, KemPrekey);
        let ptr0, len0, ptr1 = 0, ptr2, len2;
        try {
            ptr0 = passArray8ToWasm0(message, wasm.__wbindgen_malloc);
            len0 = WASM_VECTOR_LEN;
            if (!isLikeNone(oneTime)) {
                _assertClass(oneTime, Prekey);
                ptr1 = oneTime.__destroy_into_raw();
            }
            ptr2 = passArray8ToWasm0(context, wasm.__wbindgen_malloc);
            len2 = WASM_VECTOR_LEN;
        } catch (e) {
            if (ptr2) { wasm.__wbindgen_free(ptr2, len2 * 1, 1); }
            if (ptr1) wasm.__wbg_prekey_free(ptr1, 1);
            if (ptr0) { wasm.__wbindgen_free(ptr0, len0 * 1, 1); }
            throw e;
        }
        const ret = wasm.session_inbound(device.__wbg_ptr, ptr0, len0, prekey.__wbg_ptr, kem.__wbg_ptr, ptr1, ptr2, len2);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return Inbound.__wrap(ret[0]);
    }
    /**
     * Whether something of the peer was decrypted, so that it is known to have the session.
     * @returns {boolean}
     */
    get isAnswered() {
        const ret = wasm.session_isAnswered(this.__wbg_ptr);
        return ret !== 0;
    }
    /**
     * The one that `save` wrote.
     * @param {Uint8Array | number[]} state
     * @returns {Session}
     */
    static load(state) {
        const ptr0 = passArray8ToWasm0(state, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.session_load(ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return Session.__wrap(ret[0]);
    }
    /**
     * Begins a session with the device of the bundle. Throws BadSignature or BadKey.
     *
     * The context is whatever both sides must agree on, such as users, identities and devices.
     * @param {DeviceKeys} device
     * @param {Bundle} bundle
     * @param {Uint8Array | number[]} context
     * @returns {Session}
     */
    static outbound(device, bundle, context) {
        _assertClass(device, DeviceKeys);
        _assertClass(bundle, Bundle);
        const ptr0 = passArray8ToWasm0(context, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.session_outbound(device.__wbg_ptr, bundle.__wbg_ptr, ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return Session.__wrap(ret[0]);
    }
    /**
     * The peer's public agreement key.
     * @returns {Uint8Array}
     */
    get peerAgreement() {
        const ret = wasm.session_peerAgreement(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * The peer's public signing key.
     * @returns {Uint8Array}
     */
    get peerSigning() {
        const ret = wasm.session_peerSigning(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * All there is to know of it. Secret.
     * @returns {Uint8Array}
     */
    save() {
        const ret = wasm.session_save(this.__wbg_ptr);
        if (ret[3]) {
            throw takeFromExternrefTable0(ret[2]);
        }
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * The same on both sides (32 bytes).
     * @returns {Uint8Array}
     */
    get sessionId() {
        const ret = wasm.session_sessionId(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
}
if (Symbol.dispose) Session.prototype[Symbol.dispose] = Session.prototype.free;

/**
 * An Ed25519 key pair, such as a user's identity.
 */
export class SigningKey {
    static __wrap(ptr) {
        const obj = Object.create(SigningKey.prototype);
        obj.__wbg_ptr = ptr;
        SigningKeyFinalization.register(obj, obj.__wbg_ptr, obj);
        return obj;
    }
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        SigningKeyFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_signingkey_free(ptr, 0);
    }
    /**
     * A new one.
     * @returns {SigningKey}
     */
    static generate() {
        const ret = wasm.signingkey_generate();
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return SigningKey.__wrap(ret[0]);
    }
    /**
     * The one whose secret this is (32 bytes).
     * @param {Uint8Array | number[]} secret
     * @returns {SigningKey}
     */
    static load(secret) {
        const ptr0 = passArray8ToWasm0(secret, wasm.__wbindgen_malloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.signingkey_load(ptr0, len0);
        if (ret[2]) {
            throw takeFromExternrefTable0(ret[1]);
        }
        return SigningKey.__wrap(ret[0]);
    }
    /**
     * What others verify with (32 bytes).
     * @returns {Uint8Array}
     */
    get public() {
        const ret = wasm.signingkey_public(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * What `load` takes.
     * @returns {Uint8Array}
     */
    secret() {
        const ret = wasm.signingkey_secret(this.__wbg_ptr);
        var v1 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v1;
    }
    /**
     * A signature (64 bytes) over the message, good for the purpose that the tag names alone.
     * @param {string} tag
     * @param {Uint8Array | number[]} message
     * @returns {Uint8Array}
     */
    sign(tag, message) {
        let ptr0, len0, ptr1, len1;
        try {
            ptr0 = passStringToWasm0(tag, wasm.__wbindgen_malloc, wasm.__wbindgen_realloc);
            len0 = WASM_VECTOR_LEN;
            ptr1 = passArray8ToWasm0(message, wasm.__wbindgen_malloc);
            len1 = WASM_VECTOR_LEN;
        } catch (e) {
            if (ptr1) { wasm.__wbindgen_free(ptr1, len1 * 1, 1); }
            if (ptr0) { wasm.__wbindgen_free(ptr0, len0 * 1, 1); }
            throw e;
        }
        const ret = wasm.signingkey_sign(this.__wbg_ptr, ptr0, len0, ptr1, len1);
        if (ret[3]) {
            throw takeFromExternrefTable0(ret[2]);
        }
        var v3 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
        wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
        return v3;
    }
}
if (Symbol.dispose) SigningKey.prototype[Symbol.dispose] = SigningKey.prototype.free;

/**
 * Whether a code from the other's screen fits one's own code.
 * @param {Uint8Array | number[]} mineFirst
 * @param {Uint8Array | number[]} scanned
 * @returns {boolean}
 */
export function compareSafetyCode(mineFirst, scanned) {
    let ptr0, len0, ptr1, len1;
    try {
        ptr0 = passArray8ToWasm0(mineFirst, wasm.__wbindgen_malloc);
        len0 = WASM_VECTOR_LEN;
        ptr1 = passArray8ToWasm0(scanned, wasm.__wbindgen_malloc);
        len1 = WASM_VECTOR_LEN;
    } catch (e) {
        if (ptr1) { wasm.__wbindgen_free(ptr1, len1 * 1, 1); }
        if (ptr0) { wasm.__wbindgen_free(ptr0, len0 * 1, 1); }
        throw e;
    }
    const ret = wasm.compareSafetyCode(ptr0, len0, ptr1, len1);
    if (ret[2]) {
        throw takeFromExternrefTable0(ret[1]);
    }
    return ret[0] !== 0;
}

/**
 * The handshake in a message; undefined in one that was written after the responder's answer.
 *
 * Next, look for a session of this id: it decrypts the message. If there is none, find the named
 * secrets and call `Session.inbound`.
 * @param {Uint8Array | number[]} message
 * @returns {Handshake | undefined}
 */
export function handshakeOf(message) {
    const ptr0 = passArray8ToWasm0(message, wasm.__wbindgen_malloc);
    const len0 = WASM_VECTOR_LEN;
    const ret = wasm.handshakeOf(ptr0, len0);
    if (ret[2]) {
        throw takeFromExternrefTable0(ret[1]);
    }
    return ret[0] === 0 ? undefined : Handshake.__wrap(ret[0]);
}

/**
 * What was sealed. Throws Undecryptable if the key or AAD is another, or a byte was changed.
 * @param {Uint8Array | number[]} key
 * @param {Uint8Array | number[]} sealed
 * @param {Uint8Array | number[]} aad
 * @returns {Uint8Array}
 */
export function openSealed(key, sealed, aad) {
    let ptr0, len0, ptr1, len1, ptr2, len2;
    try {
        ptr0 = passArray8ToWasm0(key, wasm.__wbindgen_malloc);
        len0 = WASM_VECTOR_LEN;
        ptr1 = passArray8ToWasm0(sealed, wasm.__wbindgen_malloc);
        len1 = WASM_VECTOR_LEN;
        ptr2 = passArray8ToWasm0(aad, wasm.__wbindgen_malloc);
        len2 = WASM_VECTOR_LEN;
    } catch (e) {
        if (ptr2) { wasm.__wbindgen_free(ptr2, len2 * 1, 1); }
        if (ptr1) { wasm.__wbindgen_free(ptr1, len1 * 1, 1); }
        if (ptr0) { wasm.__wbindgen_free(ptr0, len0 * 1, 1); }
        throw e;
    }
    const ret = wasm.openSealed(ptr0, len0, ptr1, len1, ptr2, len2);
    if (ret[3]) {
        throw takeFromExternrefTable0(ret[2]);
    }
    var v4 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
    wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
    return v4;
}

/**
 * Hides the length: at least 128 bytes, and at most 12 % more than what it is given, or 5 bytes.
 * @param {Uint8Array | number[]} plaintext
 * @returns {Uint8Array}
 */
export function pad(plaintext) {
    const ptr0 = passArray8ToWasm0(plaintext, wasm.__wbindgen_malloc);
    const len0 = WASM_VECTOR_LEN;
    const ret = wasm.pad(ptr0, len0);
    if (ret[3]) {
        throw takeFromExternrefTable0(ret[2]);
    }
    var v2 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
    wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
    return v2;
}

/**
 * The same for a QR code on A's screen, A's half first.
 * @param {Uint8Array | number[]} userA
 * @param {Uint8Array | number[]} identityA
 * @param {Uint8Array | number[]} userB
 * @param {Uint8Array | number[]} identityB
 * @returns {Uint8Array}
 */
export function safetyCode(userA, identityA, userB, identityB) {
    let ptr0, len0, ptr1, len1, ptr2, len2, ptr3, len3;
    try {
        ptr0 = passArray8ToWasm0(userA, wasm.__wbindgen_malloc);
        len0 = WASM_VECTOR_LEN;
        ptr1 = passArray8ToWasm0(identityA, wasm.__wbindgen_malloc);
        len1 = WASM_VECTOR_LEN;
        ptr2 = passArray8ToWasm0(userB, wasm.__wbindgen_malloc);
        len2 = WASM_VECTOR_LEN;
        ptr3 = passArray8ToWasm0(identityB, wasm.__wbindgen_malloc);
        len3 = WASM_VECTOR_LEN;
    } catch (e) {
        if (ptr3) { wasm.__wbindgen_free(ptr3, len3 * 1, 1); }
        if (ptr2) { wasm.__wbindgen_free(ptr2, len2 * 1, 1); }
        if (ptr1) { wasm.__wbindgen_free(ptr1, len1 * 1, 1); }
        if (ptr0) { wasm.__wbindgen_free(ptr0, len0 * 1, 1); }
        throw e;
    }
    const ret = wasm.safetyCode(ptr0, len0, ptr1, len1, ptr2, len2, ptr3, len3);
    if (ret[3]) {
        throw takeFromExternrefTable0(ret[2]);
    }
    var v5 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
    wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
    return v5;
}

/**
 * 60 digits for two people to compare, the same for both. Takes some milliseconds.
 * @param {Uint8Array | number[]} userA
 * @param {Uint8Array | number[]} identityA
 * @param {Uint8Array | number[]} userB
 * @param {Uint8Array | number[]} identityB
 * @returns {string}
 */
export function safetyNumber(userA, identityA, userB, identityB) {
    let deferred6_0;
    let deferred6_1;
    try {
        let ptr0, len0, ptr1, len1, ptr2, len2, ptr3, len3;
        try {
            ptr0 = passArray8ToWasm0(userA, wasm.__wbindgen_malloc);
            len0 = WASM_VECTOR_LEN;
            ptr1 = passArray8ToWasm0(identityA, wasm.__wbindgen_malloc);
            len1 = WASM_VECTOR_LEN;
            ptr2 = passArray8ToWasm0(userB, wasm.__wbindgen_malloc);
            len2 = WASM_VECTOR_LEN;
            ptr3 = passArray8ToWasm0(identityB, wasm.__wbindgen_malloc);
            len3 = WASM_VECTOR_LEN;
        } catch (e) {
            if (ptr3) { wasm.__wbindgen_free(ptr3, len3 * 1, 1); }
            if (ptr2) { wasm.__wbindgen_free(ptr2, len2 * 1, 1); }
            if (ptr1) { wasm.__wbindgen_free(ptr1, len1 * 1, 1); }
            if (ptr0) { wasm.__wbindgen_free(ptr0, len0 * 1, 1); }
            throw e;
        }
        const ret = wasm.safetyNumber(ptr0, len0, ptr1, len1, ptr2, len2, ptr3, len3);
        var ptr5 = ret[0];
        var len5 = ret[1];
        if (ret[3]) {
            ptr5 = 0; len5 = 0;
            throw takeFromExternrefTable0(ret[2]);
        }
        deferred6_0 = ptr5;
        deferred6_1 = len5;
        return getStringFromWasm0(ptr5, len5);
    } finally {
        wasm.__wbindgen_free(deferred6_0, deferred6_1, 1);
    }
}

/**
 * Seals content with a fresh key.
 * @param {Uint8Array | number[]} plaintext
 * @param {Uint8Array | number[]} aad
 * @returns {Sealed}
 */
export function seal(plaintext, aad) {
    let ptr0, len0, ptr1, len1;
    try {
        ptr0 = passArray8ToWasm0(plaintext, wasm.__wbindgen_malloc);
        len0 = WASM_VECTOR_LEN;
        ptr1 = passArray8ToWasm0(aad, wasm.__wbindgen_malloc);
        len1 = WASM_VECTOR_LEN;
    } catch (e) {
        if (ptr1) { wasm.__wbindgen_free(ptr1, len1 * 1, 1); }
        if (ptr0) { wasm.__wbindgen_free(ptr0, len0 * 1, 1); }
        throw e;
    }
    const ret = wasm.seal(ptr0, len0, ptr1, len1);
    if (ret[2]) {
        throw takeFromExternrefTable0(ret[1]);
    }
    return Sealed.__wrap(ret[0]);
}

/**
 * What `pad` was given.
 * @param {Uint8Array | number[]} padded
 * @returns {Uint8Array}
 */
export function unpad(padded) {
    const ptr0 = passArray8ToWasm0(padded, wasm.__wbindgen_malloc);
    const len0 = WASM_VECTOR_LEN;
    const ret = wasm.unpad(ptr0, len0);
    if (ret[3]) {
        throw takeFromExternrefTable0(ret[2]);
    }
    var v2 = getArrayU8FromWasm0(ret[0], ret[1]).slice();
    wasm.__wbindgen_free(ret[0], ret[1] * 1, 1);
    return v2;
}

/**
 * Throws BadSignature unless the key signed this message for this purpose, or BadKey.
 * @param {Uint8Array | number[]} _public
 * @param {string} tag
 * @param {Uint8Array | number[]} message
 * @param {Uint8Array | number[]} signature
 */
export function verify(_public, tag, message, signature) {
    let ptr0, len0, ptr1, len1, ptr2, len2, ptr3, len3;
    try {
        ptr0 = passArray8ToWasm0(_public, wasm.__wbindgen_malloc);
        len0 = WASM_VECTOR_LEN;
        ptr1 = passStringToWasm0(tag, wasm.__wbindgen_malloc, wasm.__wbindgen_realloc);
        len1 = WASM_VECTOR_LEN;
        ptr2 = passArray8ToWasm0(message, wasm.__wbindgen_malloc);
        len2 = WASM_VECTOR_LEN;
        ptr3 = passArray8ToWasm0(signature, wasm.__wbindgen_malloc);
        len3 = WASM_VECTOR_LEN;
    } catch (e) {
        if (ptr3) { wasm.__wbindgen_free(ptr3, len3 * 1, 1); }
        if (ptr2) { wasm.__wbindgen_free(ptr2, len2 * 1, 1); }
        if (ptr1) { wasm.__wbindgen_free(ptr1, len1 * 1, 1); }
        if (ptr0) { wasm.__wbindgen_free(ptr0, len0 * 1, 1); }
        throw e;
    }
    const ret = wasm.verify(ptr0, len0, ptr1, len1, ptr2, len2, ptr3, len3);
    if (ret[1]) {
        throw takeFromExternrefTable0(ret[0]);
    }
}
function __wbg_get_imports() {
    const import0 = {
        __proto__: null,
        __wbg___wbindgen_throw_4c88d8bf264fd984: function(arg0, arg1) {
            throw new Error(getStringFromWasm0(arg0, arg1));
        },
        __wbg_agreementSignature_a78a33f4fa36ffac: function(arg0, arg1) {
            const ret = arg1.agreementSignature;
            const ptr1 = passArray8ToWasm0(ret, wasm.__wbindgen_malloc);
            const len1 = WASM_VECTOR_LEN;
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 1, len1, true);
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 0, ptr1, true);
        },
        __wbg_agreement_38430b1bec66eae1: function(arg0, arg1) {
            const ret = arg1.agreement;
            const ptr1 = passArray8ToWasm0(ret, wasm.__wbindgen_malloc);
            const len1 = WASM_VECTOR_LEN;
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 1, len1, true);
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 0, ptr1, true);
        },
        __wbg_getRandomValues_8b6f1f663e6f188d: function() { return handleError(function (arg0, arg1) {
            globalThis.crypto.getRandomValues(getArrayU8FromWasm0(arg0, arg1));
        }, arguments); },
        __wbg_kemId_9c3f4d6a19d880da: function(arg0) {
            const ret = arg0.kemId;
            return ret;
        },
        __wbg_kemSignature_52ffc819c9150b2c: function(arg0, arg1) {
            const ret = arg1.kemSignature;
            const ptr1 = passArray8ToWasm0(ret, wasm.__wbindgen_malloc);
            const len1 = WASM_VECTOR_LEN;
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 1, len1, true);
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 0, ptr1, true);
        },
        __wbg_kem_cf60124127426a3a: function(arg0, arg1) {
            const ret = arg1.kem;
            const ptr1 = passArray8ToWasm0(ret, wasm.__wbindgen_malloc);
            const len1 = WASM_VECTOR_LEN;
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 1, len1, true);
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 0, ptr1, true);
        },
        __wbg_new_787b9fb330d55d78: function(arg0, arg1) {
            const ret = new Error(getStringFromWasm0(arg0, arg1));
            return ret;
        },
        __wbg_oneTimeId_aa5577f8b639e7db: function(arg0, arg1) {
            const ret = arg1.oneTimeId;
            getDataViewMemory0().setBigInt64((arg0 >>> 0) + 8 * 1, isLikeNone(ret) ? BigInt(0) : ret, true);
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 0, !isLikeNone(ret), true);
        },
        __wbg_oneTime_567de567af16e486: function(arg0, arg1) {
            const ret = arg1.oneTime;
            var ptr1 = isLikeNone(ret) ? 0 : passArray8ToWasm0(ret, wasm.__wbindgen_malloc);
            var len1 = WASM_VECTOR_LEN;
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 1, len1, true);
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 0, ptr1, true);
        },
        __wbg_prekeyId_4c8478f810a3e14e: function(arg0) {
            const ret = arg0.prekeyId;
            return ret;
        },
        __wbg_prekeySignature_1755369c55aaf756: function(arg0, arg1) {
            const ret = arg1.prekeySignature;
            const ptr1 = passArray8ToWasm0(ret, wasm.__wbindgen_malloc);
            const len1 = WASM_VECTOR_LEN;
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 1, len1, true);
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 0, ptr1, true);
        },
        __wbg_prekey_468b25ee7981aa12: function(arg0, arg1) {
            const ret = arg1.prekey;
            const ptr1 = passArray8ToWasm0(ret, wasm.__wbindgen_malloc);
            const len1 = WASM_VECTOR_LEN;
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 1, len1, true);
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 0, ptr1, true);
        },
        __wbg_set_name_822e3903f3184979: function(arg0, arg1, arg2) {
            arg0.name = getStringFromWasm0(arg1, arg2);
        },
        __wbg_signing_fa92138f2bef2851: function(arg0, arg1) {
            const ret = arg1.signing;
            const ptr1 = passArray8ToWasm0(ret, wasm.__wbindgen_malloc);
            const len1 = WASM_VECTOR_LEN;
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 1, len1, true);
            getDataViewMemory0().setInt32((arg0 >>> 0) + 4 * 0, ptr1, true);
        },
        __wbindgen_init_externref_table: function() {
            const table = wasm.__wbindgen_externrefs;
            table.set(0, undefined);
            table.set(1024, undefined);
            table.set(1025, null);
            table.set(1026, true);
            table.set(1027, false);
        },
    };
    return {
        __proto__: null,
        "./tidings_core_bg.js": import0,
    };
}

const BundleFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_bundle_free(ptr, 1));
const DeviceKeysFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_devicekeys_free(ptr, 1));
const GroupMessageFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_groupmessage_free(ptr, 1));
const HandshakeFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_handshake_free(ptr, 1));
const InboundFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_inbound_free(ptr, 1));
const KemPrekeyFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_kemprekey_free(ptr, 1));
const PrekeyFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_prekey_free(ptr, 1));
const ReceivedSenderKeyFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_receivedsenderkey_free(ptr, 1));
const SealedFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_sealed_free(ptr, 1));
const SenderKeyFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_senderkey_free(ptr, 1));
const SessionFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_session_free(ptr, 1));
const SigningKeyFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_signingkey_free(ptr, 1));

function addToExternrefTable0(obj) {
    const idx = wasm.__externref_table_alloc();
    wasm.__wbindgen_externrefs.set(idx, obj);
    return idx;
}

function _assertClass(instance, klass) {
    if (!(instance instanceof klass)) {
        throw new Error(`expected instance of ${klass.name}`);
    }
}

function getArrayU8FromWasm0(ptr, len) {
    ptr = ptr >>> 0;
    return getUint8ArrayMemory0().subarray(ptr / 1, ptr / 1 + len);
}

let cachedDataViewMemory0 = null;
function getDataViewMemory0() {
    if (cachedDataViewMemory0 === null || cachedDataViewMemory0.buffer.detached === true || (cachedDataViewMemory0.buffer.detached === undefined && cachedDataViewMemory0.buffer !== wasm.memory.buffer)) {
        cachedDataViewMemory0 = new DataView(wasm.memory.buffer);
    }
    return cachedDataViewMemory0;
}

function getStringFromWasm0(ptr, len) {
    ptr = ptr >>> 0;
    return decodeText(getUint8ArrayMemory0().subarray(ptr, ptr + len));
}

let cachedUint8ArrayMemory0 = null;
function getUint8ArrayMemory0() {
    if (cachedUint8ArrayMemory0 === null || cachedUint8ArrayMemory0.byteLength === 0) {
        cachedUint8ArrayMemory0 = new Uint8Array(wasm.memory.buffer);
    }
    return cachedUint8ArrayMemory0;
}

function handleError(f, args) {
    try {
        return f.apply(this, args);
    } catch (e) {
        const idx = addToExternrefTable0(e);
        wasm.__wbindgen_exn_store(idx);
    }
}

function isLikeNone(x) {
    return x === undefined || x === null;
}

function passArray8ToWasm0(arg, malloc) {
    const ptr = malloc(arg.length * 1, 1) >>> 0;
    getUint8ArrayMemory0().set(arg, ptr / 1);
    WASM_VECTOR_LEN = arg.length;
    return ptr;
}

function passStringToWasm0(arg, malloc, realloc) {
    if (realloc === undefined) {
        const buf = cachedTextEncoder.encode(arg);
        const ptr = malloc(buf.length, 1) >>> 0;
        getUint8ArrayMemory0().subarray(ptr, ptr + buf.length).set(buf);
        WASM_VECTOR_LEN = buf.length;
        return ptr;
    }

    let len = arg.length;
    let ptr = malloc(len, 1) >>> 0;

    const mem = getUint8ArrayMemory0();

    let offset = 0;

    for (; offset < len; offset++) {
        const code = arg.charCodeAt(offset);
        if (code > 0x7F) break;
        mem[ptr + offset] = code;
    }
    if (offset !== len) {
        if (offset !== 0) {
            arg = arg.slice(offset);
        }
        ptr = realloc(ptr, len, len = offset + arg.length * 3, 1) >>> 0;
        const view = getUint8ArrayMemory0().subarray(ptr + offset, ptr + len);
        const ret = cachedTextEncoder.encodeInto(arg, view);

        offset += ret.written;
        ptr = realloc(ptr, len, offset, 1) >>> 0;
    }

    WASM_VECTOR_LEN = offset;
    return ptr;
}

function takeFromExternrefTable0(idx) {
    const value = wasm.__wbindgen_externrefs.get(idx);
    wasm.__externref_table_dealloc(idx);
    return value;
}

let cachedTextDecoder = new TextDecoder('utf-8', { ignoreBOM: true });
cachedTextDecoder.decode();
const MAX_SAFARI_DECODE_BYTES = 2146435072;
let numBytesDecoded = 0;
function decodeText(bytes) {
    numBytesDecoded += bytes.length;
    if (numBytesDecoded >= MAX_SAFARI_DECODE_BYTES) {
        cachedTextDecoder = new TextDecoder('utf-8', { ignoreBOM: true });
        cachedTextDecoder.decode();
        numBytesDecoded = bytes.length;
    }
    return cachedTextDecoder.decode(bytes);
}

const cachedTextEncoder = new TextEncoder();

if (!('encodeInto' in cachedTextEncoder)) {
    cachedTextEncoder.encodeInto = function (arg, view) {
        const buf = cachedTextEncoder.encode(arg);
        view.set(buf);
        return {
            read: arg.length,
            written: buf.length
        };
    };
}

let WASM_VECTOR_LEN = 0;

let wasmModule, wasmInstance, wasm;
function __wbg_finalize_init(instance, module) {
    wasmInstance = instance;
    wasm = instance.exports;
    wasmModule = module;
    cachedDataViewMemory0 = null;
    cachedUint8ArrayMemory0 = null;
    wasm.__wbindgen_start();
    return wasm;
}

async function __wbg_load(module, imports) {
    if (typeof Response === 'function' && module instanceof Response) {
        if (!module.ok) {
            throw new Error(`failed to fetch Wasm: ${module.status} ${module.statusText} fetching '${module.url}'`);
        }

        if (typeof WebAssembly.instantiateStreaming === 'function') {
            try {
                return await WebAssembly.instantiateStreaming(module, imports);
            } catch (e) {
                const validResponse = expectedResponseType(module.type);

                if (validResponse && module.headers.get('Content-Type') !== 'application/wasm') {
                    console.warn("`WebAssembly.instantiateStreaming` failed because your server does not serve Wasm with `application/wasm` MIME type. Falling back to `WebAssembly.instantiate` which is slower. Original error:\n", e);

                } else { throw e; }
            }
        }

        const bytes = await module.arrayBuffer();
        return await WebAssembly.instantiate(bytes, imports);
    } else {
        const instance = await WebAssembly.instantiate(module, imports);

        if (instance instanceof WebAssembly.Instance) {
            return { instance, module };
        } else {
            return instance;
        }
    }

    function expectedResponseType(type) {
        switch (type) {
            case 'basic': case 'cors': case 'default': return true;
        }
        return false;
    }
}

function initSync(module) {
    if (wasm !== undefined) return wasm;


    if (module !== undefined) {
        if (Object.getPrototypeOf(module) === Object.prototype) {
            ({module} = module)
        } else {
            console.warn('using deprecated parameters for `initSync()`; pass a single object instead')
        }
    }

    const imports = __wbg_get_imports();
    if (!(module instanceof WebAssembly.Module)) {
        module = new WebAssembly.Module(module);
    }
    const instance = new WebAssembly.Instance(module, imports);
    return __wbg_finalize_init(instance, module);
}

let __wbg_init_promise;
async function __wbg_init(module_or_path) {
    if (wasm !== undefined) return wasm;
    if (__wbg_init_promise === undefined) {
        __wbg_init_promise = __wbg_init_once(module_or_path);
        __wbg_init_promise.catch(() => { __wbg_init_promise = undefined; });
    }
    return __wbg_init_promise;
}

async function __wbg_init_once(module_or_path) {

    if (module_or_path !== undefined) {
        if (Object.getPrototypeOf(module_or_path) === Object.prototype) {
            ({module_or_path} = module_or_path)
        } else {
            console.warn('using deprecated parameters for the initialization function; pass a single object instead')
        }
    }


    const imports = __wbg_get_imports();

    if (typeof module_or_path === 'string' || (typeof Request === 'function' && module_or_path instanceof Request) || (typeof URL === 'function' && module_or_path instanceof URL)) {
        module_or_path = fetch(module_or_path);
    }

    const { instance, module } = await __wbg_load(await module_or_path, imports);

    return __wbg_finalize_init(instance, module);
}

export { initSync, __wbg_init as default };
