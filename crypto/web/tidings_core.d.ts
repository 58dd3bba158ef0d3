/* tslint:disable */
/* eslint-disable */

/** What everything in this module throws, by its `name`. */
export interface CryptoError extends Error {
    readonly name: "Malformed" | "TooNew" | "BadSignature" | "BadKey" | "Undecryptable" | "CryptoError";
}

/** What one device has published, as a server that nobody trusts hands it out. */
export interface BundleFields {
    readonly signing: Uint8Array;
    readonly agreement: Uint8Array;
    readonly agreementSignature: Uint8Array;
    readonly prekeyId: bigint;
    readonly prekey: Uint8Array;
    readonly prekeySignature: Uint8Array;
    readonly kemId: bigint;
    readonly kem: Uint8Array;
    readonly kemSignature: Uint8Array;
    readonly oneTimeId?: bigint | null;
    readonly oneTime?: Uint8Array | null;
}



/**
 * What one device has published, with the lengths of its fields checked.
 */
export class Bundle {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Throws Malformed if a field has not its length. Verifies no signature.
     */
    constructor(fields: BundleFields);
    /**
     * Throws BadSignature or BadKey unless the signing key vouches for the other keys. Whose
     * signing key it is, only the caller can know.
     */
    verify(): void;
    /**
     * The device's public agreement key.
     */
    readonly agreement: Uint8Array;
    /**
     * The device's public signing key.
     */
    readonly signing: Uint8Array;
}

/**
 * The keys of one device: a signing key, and an agreement key that it vouches for.
 */
export class DeviceKeys {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * New ones.
     */
    static generate(): DeviceKeys;
    /**
     * Those that `save` wrote.
     */
    static load(state: Uint8Array | number[]): DeviceKeys;
    /**
     * All there is to know of them. Secret.
     */
    save(): Uint8Array;
    /**
     * Signs a KEM prekey and the id that it is published under.
     */
    signKemPrekey(id: bigint, _public: Uint8Array | number[]): Uint8Array;
    /**
     * Signs a prekey and the id that it is published under.
     */
    signPrekey(id: bigint, _public: Uint8Array | number[]): Uint8Array;
    /**
     * A signature of the device, as `SigningKey.sign`.
     */
    sign(tag: string, message: Uint8Array | number[]): Uint8Array;
    /**
     * The signing key's word for the agreement key (64 bytes).
     */
    readonly agreementSignature: Uint8Array;
    /**
     * The public agreement key (X25519, 32 bytes).
     */
    readonly agreement: Uint8Array;
    /**
     * The public signing key (Ed25519, 32 bytes).
     */
    readonly signing: Uint8Array;
}

/**
 * A group's message, decrypted.
 */
export class GroupMessage {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Its index: one seen before with another message is a replay.
     */
    index: number;
    /**
     * What it says.
     */
    get plaintext(): Uint8Array;
    /**
     * What it says.
     */
    set plaintext(value: Uint8Array | number[]);
}

/**
 * What a message tells of the handshake in it, before anything of it is verified.
 */
export class Handshake {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * The initiator's public agreement key.
     */
    readonly agreement: Uint8Array;
    /**
     * Which KEM prekey it used.
     */
    readonly kemId: bigint;
    /**
     * Which one-time prekey it used, if any.
     */
    readonly oneTimeId: bigint | undefined;
    /**
     * Which signed prekey it used.
     */
    readonly prekeyId: bigint;
    /**
     * The session that it begins or belongs to (32 bytes).
     */
    readonly sessionId: Uint8Array;
    /**
     * The initiator's public signing key: to be looked up in its user's device list.
     */
    readonly signing: Uint8Array;
}

/**
 * A session that a first message began, and what the message says.
 */
export class Inbound {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * The session; this object is used up.
     */
    intoSession(): Session;
    /**
     * What the message says.
     */
    readonly plaintext: Uint8Array;
}

/**
 * An ML-KEM-1024 key to publish, signed.
 */
export class KemPrekey {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * A new one.
     */
    static generate(): KemPrekey;
    /**
     * The one whose secret this is (64 bytes).
     */
    static load(secret: Uint8Array | number[]): KemPrekey;
    /**
     * What `load` takes: the seed of the pair.
     */
    secret(): Uint8Array;
    /**
     * What is published (1,568 bytes).
     */
    readonly public: Uint8Array;
}

/**
 * An X25519 key to publish: signed and kept for a while, or for one session.
 */
export class Prekey {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * A new one.
     */
    static generate(): Prekey;
    /**
     * The one whose secret this is (32 bytes).
     */
    static load(secret: Uint8Array | number[]): Prekey;
    /**
     * What `load` takes.
     */
    secret(): Uint8Array;
    /**
     * What is published (32 bytes).
     */
    readonly public: Uint8Array;
}

/**
 * Somebody else's key of a group. It reads a message as often as it is asked to.
 */
export class ReceivedSenderKey {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Throws Undecryptable for a message of another key, changed, or from before `firstIndex`.
     */
    decrypt(message: Uint8Array | number[]): GroupMessage;
    /**
     * The one that `save` wrote.
     */
    static load(state: Uint8Array | number[]): ReceivedSenderKey;
    /**
     * From what the sender's `share` gave. Throws BadSignature or BadKey.
     */
    constructor(shared: Uint8Array | number[]);
    /**
     * All there is to know of it. Secret.
     */
    save(): Uint8Array;
    /**
     * The index of the first message that it can decrypt.
     */
    readonly firstIndex: number;
}

/**
 * Sealed content, and the key that opens it.
 */
export class Sealed {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * 32 bytes.
     */
    get key(): Uint8Array;
    /**
     * 32 bytes.
     */
    set key(value: Uint8Array | number[]);
    /**
     * What the key opens.
     */
    get sealed(): Uint8Array;
    /**
     * What the key opens.
     */
    set sealed(value: Uint8Array | number[]);
}

/**
 * One's own key of a group: each message is encrypted once for all members.
 */
export class SenderKey {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * A message for all members. Next, save the key before the message leaves.
     */
    encrypt(plaintext: Uint8Array | number[]): Uint8Array;
    /**
     * A new one.
     */
    static generate(): SenderKey;
    /**
     * The one that `save` wrote.
     */
    static load(state: Uint8Array | number[]): SenderKey;
    /**
     * All there is to know of it. Secret.
     */
    save(): Uint8Array;
    /**
     * What members need to read from the next message on. Secret: it goes through sessions.
     */
    share(): Uint8Array;
    /**
     * How many messages it has encrypted; the index of the next one.
     */
    readonly index: number;
}

/**
 * One side of a session between two devices.
 *
 * A chain keeps the keys of the 40 messages last skipped, for five chains; a message more than
 * 2,000 ahead in its chain is refused.
 */
export class Session {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * What the peer's message says. Next, save the session together with it.
     *
     * Throws Undecryptable for a message that was read before, is too far ahead, or whose key is no
     * longer kept; BadKey. After an error the session is what it was before.
     */
    decrypt(message: Uint8Array | number[]): Uint8Array;
    /**
     * A message for the peer. Next, save the session before the message leaves.
     */
    encrypt(plaintext: Uint8Array | number[]): Uint8Array;
    /**
     * Answers the handshake in a message. Next, delete the one-time prekey together with saving
     * the session; the object of it that is handed in is used up. The caller checks that the signing
     * key is in the device list of who it should be.
     *
     * Throws Undecryptable if a secret or the context is another than the initiator's, BadSignature
     * or BadKey if its keys are bad.
     */
    static inbound(device: DeviceKeys, message: Uint8Array | number[], prekey: Prekey, kem: KemPrekey, oneTime: Prekey | null | undefined, context: Uint8Array | number[]): Inbound;
    /**
     * The one that `save` wrote.
     */
    static load(state: Uint8Array | number[]): Session;
    /**
     * Begins a session with the device of the bundle. Throws BadSignature or BadKey.
     *
     * The context is whatever both sides must agree on, such as users, identities and devices.
     */
    static outbound(device: DeviceKeys, bundle: Bundle, context: Uint8Array | number[]): Session;
    /**
     * All there is to know of it. Secret.
     */
    save(): Uint8Array;
    /**
     * Whether something of the peer was decrypted, so that it is known to have the session.
     */
    readonly isAnswered: boolean;
    /**
     * The peer's public agreement key.
     */
    readonly peerAgreement: Uint8Array;
    /**
     * The peer's public signing key.
     */
    readonly peerSigning: Uint8Array;
    /**
     * The same on both sides (32 bytes).
     */
    readonly sessionId: Uint8Array;
}

/**
 * An Ed25519 key pair, such as a user's identity.
 */
export class SigningKey {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * A new one.
     */
    static generate(): SigningKey;
    /**
     * The one whose secret this is (32 bytes).
     */
    static load(secret: Uint8Array | number[]): SigningKey;
    /**
     * What `load` takes.
     */
    secret(): Uint8Array;
    /**
     * A signature (64 bytes) over the message, good for the purpose that the tag names alone.
     */
    sign(tag: string, message: Uint8Array | number[]): Uint8Array;
    /**
     * What others verify with (32 bytes).
     */
    readonly public: Uint8Array;
}

/**
 * Whether a code from the other's screen fits one's own code.
 */
export function compareSafetyCode(mineFirst: Uint8Array | number[], scanned: Uint8Array | number[]): boolean;

/**
 * The handshake in a message; undefined in one that was written after the responder's answer.
 *
 * Next, look for a session of this id: it decrypts the message. If there is none, find the named
 * secrets and call `Session.inbound`.
 */
export function handshakeOf(message: Uint8Array | number[]): Handshake | undefined;

/**
 * What was sealed. Throws Undecryptable if the key or AAD is another, or a byte was changed.
 */
export function openSealed(key: Uint8Array | number[], sealed: Uint8Array | number[], aad: Uint8Array | number[]): Uint8Array;

/**
 * Hides the length: at least 128 bytes, and at most 12 % more than what it is given, or 5 bytes.
 */
export function pad(plaintext: Uint8Array | number[]): Uint8Array;

/**
 * The same for a QR code on A's screen, A's half first.
 */
export function safetyCode(userA: Uint8Array | number[], identityA: Uint8Array | number[], userB: Uint8Array | number[], identityB: Uint8Array | number[]): Uint8Array;

/**
 * 60 digits for two people to compare, the same for both. Takes some milliseconds.
 */
export function safetyNumber(userA: Uint8Array | number[], identityA: Uint8Array | number[], userB: Uint8Array | number[], identityB: Uint8Array | number[]): string;

/**
 * Seals content with a fresh key.
 */
export function seal(plaintext: Uint8Array | number[], aad: Uint8Array | number[]): Sealed;

/**
 * What `pad` was given.
 */
export function unpad(padded: Uint8Array | number[]): Uint8Array;

/**
 * Throws BadSignature unless the key signed this message for this purpose, or BadKey.
 */
export function verify(_public: Uint8Array | number[], tag: string, message: Uint8Array | number[], signature: Uint8Array | number[]): void;

export type InitInput = RequestInfo | URL | Response | BufferSource | WebAssembly.Module;

export interface InitOutput {
    readonly memory: WebAssembly.Memory;
    readonly __wbg_bundle_free: (a: number, b: number) => void;
    readonly __wbg_devicekeys_free: (a: number, b: number) => void;
    readonly __wbg_get_groupmessage_index: (a: number) => number;
    readonly __wbg_get_groupmessage_plaintext: (a: number) => [number, number];
    readonly __wbg_get_sealed_key: (a: number) => [number, number];
    readonly __wbg_get_sealed_sealed: (a: number) => [number, number];
    readonly __wbg_groupmessage_free: (a: number, b: number) => void;
    readonly __wbg_handshake_free: (a: number, b: number) => void;
    readonly __wbg_inbound_free: (a: number, b: number) => void;
    readonly __wbg_kemprekey_free: (a: number, b: number) => void;
    readonly __wbg_prekey_free: (a: number, b: number) => void;
    readonly __wbg_receivedsenderkey_free: (a: number, b: number) => void;
    readonly __wbg_sealed_free: (a: number, b: number) => void;
    readonly __wbg_senderkey_free: (a: number, b: number) => void;
    readonly __wbg_session_free: (a: number, b: number) => void;
    readonly __wbg_set_groupmessage_index: (a: number, b: number) => void;
    readonly __wbg_set_groupmessage_plaintext: (a: number, b: number, c: number) => void;
    readonly __wbg_set_sealed_key: (a: number, b: number, c: number) => void;
    readonly __wbg_set_sealed_sealed: (a: number, b: number, c: number) => void;
    readonly __wbg_signingkey_free: (a: number, b: number) => void;
    readonly bundle_agreement: (a: number) => [number, number];
    readonly bundle_new: (a: any) => [number, number, number];
    readonly bundle_signing: (a: number) => [number, number];
    readonly bundle_verify: (a: number) => [number, number];
    readonly compareSafetyCode: (a: number, b: number, c: number, d: number) => [number, number, number];
    readonly devicekeys_agreement: (a: number) => [number, number];
    readonly devicekeys_agreementSignature: (a: number) => [number, number];
    readonly devicekeys_generate: () => [number, number, number];
    readonly devicekeys_load: (a: number, b: number) => [number, number, number];
    readonly devicekeys_save: (a: number) => [number, number];
    readonly devicekeys_sign: (a: number, b: number, c: number, d: number, e: number) => [number, number, number, number];
    readonly devicekeys_signKemPrekey: (a: number, b: bigint, c: number, d: number) => [number, number, number, number];
    readonly devicekeys_signPrekey: (a: number, b: bigint, c: number, d: number) => [number, number, number, number];
    readonly devicekeys_signing: (a: number) => [number, number];
    readonly handshakeOf: (a: number, b: number) => [number, number, number];
    readonly handshake_agreement: (a: number) => [number, number];
    readonly handshake_kemId: (a: number) => bigint;
    readonly handshake_oneTimeId: (a: number) => [number, bigint];
    readonly handshake_prekeyId: (a: number) => bigint;
    readonly handshake_sessionId: (a: number) => [number, number];
    readonly handshake_signing: (a: number) => [number, number];
    readonly inbound_intoSession: (a: number) => number;
    readonly inbound_plaintext: (a: number) => [number, number];
    readonly kemprekey_generate: () => [number, number, number];
    readonly kemprekey_load: (a: number, b: number) => [number, number, number];
    readonly kemprekey_public: (a: number) => [number, number];
    readonly kemprekey_secret: (a: number) => [number, number];
    readonly openSealed: (a: number, b: number, c: number, d: number, e: number, f: number) => [number, number, number, number];
    readonly pad: (a: number, b: number) => [number, number, number, number];
    readonly prekey_generate: () => [number, number, number];
    readonly prekey_load: (a: number, b: number) => [number, number, number];
    readonly prekey_public: (a: number) => [number, number];
    readonly prekey_secret: (a: number) => [number, number];
    readonly receivedsenderkey_decrypt: (a: number, b: number, c: number) => [number, number, number];
    readonly receivedsenderkey_firstIndex: (a: number) => number;
    readonly receivedsenderkey_load: (a: number, b: number) => [number, number, number];
    readonly receivedsenderkey_new: (a: number, b: number) => [number, number, number];
    readonly receivedsenderkey_save: (a: number) => [number, number, number, number];
    readonly safetyCode: (a: number, b: number, c: number, d: number, e: number, f: number, g: number, h: number) => [number, number, number, number];
    readonly safetyNumber: (a: number, b: number, c: number, d: number, e: number, f: number, g: number, h: number) => [number, number, number, number];
    readonly seal: (a: number, b: number, c: number, d: number) => [number, number, number];
    readonly senderkey_encrypt: (a: number, b: number, c: number) => [number, number];
    readonly senderkey_generate: () => number;
    readonly senderkey_index: (a: number) => number;
    readonly senderkey_load: (a: number, b: number) => [number, number, number];
    readonly senderkey_save: (a: number) => [number, number, number, number];
    readonly senderkey_share: (a: number) => [number, number];
    readonly session_decrypt: (a: number, b: number, c: number) => [number, number, number, number];
    readonly session_encrypt: (a: number, b: number, c: number) => [number, number, number, number];
    readonly session_inbound: (a: number, b: number, c: number, d: number, e: number, f: number, g: number, h: number) => [number, number, number];
    readonly session_isAnswered: (a: number) => number;
    readonly session_load: (a: number, b: number) => [number, number, number];
    readonly session_outbound: (a: number, b: number, c: number, d: number) => [number, number, number];
    readonly session_peerAgreement: (a: number) => [number, number];
    readonly session_peerSigning: (a: number) => [number, number];
    readonly session_save: (a: number) => [number, number, number, number];
    readonly session_sessionId: (a: number) => [number, number];
    readonly signingkey_generate: () => [number, number, number];
    readonly signingkey_load: (a: number, b: number) => [number, number, number];
    readonly signingkey_public: (a: number) => [number, number];
    readonly signingkey_secret: (a: number) => [number, number];
    readonly signingkey_sign: (a: number, b: number, c: number, d: number, e: number) => [number, number, number, number];
    readonly unpad: (a: number, b: number) => [number, number, number, number];
    readonly verify: (a: number, b: number, c: number, d: number, e: number, f: number, g: number, h: number) => [number, number];
    readonly __wbindgen_malloc: (a: number, b: number) => number;
    readonly __wbindgen_free: (a: number, b: number, c: number) => void;
    readonly __wbindgen_exn_store: (a: number) => void;
    readonly __externref_table_alloc: () => number;
    readonly __wbindgen_externrefs: WebAssembly.Table;
    readonly __externref_table_dealloc: (a: number) => void;
    readonly __wbindgen_realloc: (a: number, b: number, c: number, d: number) => number;
    readonly __wbindgen_start: () => void;
}

export type SyncInitInput = BufferSource | WebAssembly.Module;

/**
 * Instantiates the given `module`, which can either be bytes or
 * a precompiled `WebAssembly.Module`.
 *
 * @param {{ module: SyncInitInput }} module - Passing `SyncInitInput` directly is deprecated.
 *
 * @returns {InitOutput}
 */
export function initSync(module: { module: SyncInitInput } | SyncInitInput): InitOutput;

/**
 * If `module_or_path` is {RequestInfo} or {URL}, makes a request and
 * for everything else, calls `WebAssembly.instantiate` directly.
 *
 * @param {{ module_or_path: InitInput | Promise<InitInput> }} module_or_path - Passing `InitInput` directly is deprecated.
 *
 * @returns {Promise<InitOutput>}
 */
export default function __wbg_init (module_or_path: { module_or_path: InitInput | Promise<InitInput> } | InitInput | Promise<InitInput>): Promise<InitOutput>;
