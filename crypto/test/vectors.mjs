// The recorded vectors, as tests/crypto/test_vectors.py reads them with the Python module.
import assert from "node:assert/strict";
import test from "node:test";
import { core, hex, unhex, vectors } from "./core.mjs";

function each(section, check) {
  assert.ok(vectors[section].length > 0);
  vectors[section].forEach((vector, number) => test(`${section} ${number}`, () => check(vector)));
}

each("signatures", (vector) => {
  const key = core.SigningKey.load(unhex(vector.secret));
  assert.equal(hex(key.public), vector.public);
  assert.equal(hex(key.sign(vector.tag, unhex(vector.message))), vector.signature);
  core.verify(unhex(vector.public), vector.tag, unhex(vector.message), unhex(vector.signature));
});

each("kem_prekeys", (vector) => {
  assert.equal(hex(core.KemPrekey.load(unhex(vector.secret)).public), vector.public);
});

each("safety_numbers", (vector) => {
  const a = [unhex(vector.user_a), unhex(vector.identity_a)];
  const b = [unhex(vector.user_b), unhex(vector.identity_b)];
  assert.equal(core.safetyNumber(...a, ...b), vector.number);
  assert.equal(hex(core.safetyCode(...a, ...b)), vector.code_a);
  assert.equal(hex(core.safetyCode(...b, ...a)), vector.code_b);
  assert.ok(core.compareSafetyCode(unhex(vector.code_a), unhex(vector.code_b)));
});

each("sealed", (vector) => {
  const opened = core.openSealed(unhex(vector.key), unhex(vector.sealed), unhex(vector.aad));
  assert.equal(hex(opened), vector.plaintext);
});

each("padded", (vector) => {
  assert.equal(hex(core.pad(unhex(vector.plaintext))), vector.padded);
  assert.equal(hex(core.unpad(unhex(vector.padded))), vector.plaintext);
});

each("handshakes", (vector) => {
  const { initiator, responder } = vector;
  const [first, ...others] = vector.messages;
  const shake = core.handshakeOf(unhex(first.message));
  assert.equal(String(shake.prekeyId), responder.prekey_id);
  assert.equal(String(shake.kemId), responder.kem_id);
  assert.equal(shake.oneTimeId, responder.one_time ? BigInt(responder.one_time_id) : undefined);
  assert.equal(hex(shake.signing), initiator.signing);
  assert.equal(hex(shake.agreement), initiator.agreement);
  const inbound = core.Session.inbound(
    core.DeviceKeys.load(unhex(responder.device_keys)),
    unhex(first.message),
    core.Prekey.load(unhex(responder.prekey)),
    core.KemPrekey.load(unhex(responder.kem)),
    responder.one_time ? core.Prekey.load(unhex(responder.one_time)) : undefined,
    unhex(vector.context),
  );
  assert.equal(hex(inbound.plaintext), first.plaintext);
  const session = inbound.intoSession();
  assert.equal(hex(session.sessionId), vector.session_id);
  for (const { message, plaintext } of others) assert.equal(hex(session.decrypt(unhex(message))), plaintext);
});

each("sessions", (vector) => {
  const session = core.Session.load(unhex(vector.state));
  assert.equal(hex(session.save()), vector.state);
  assert.equal(hex(session.sessionId), vector.session_id);
  assert.equal(hex(session.peerSigning), vector.peer_signing);
  assert.equal(hex(session.peerAgreement), vector.peer_agreement);
  for (const { message, plaintext } of vector.messages) {
    assert.equal(hex(session.decrypt(unhex(message))), plaintext);
  }
});

each("sender_keys", (vector) => {
  const own = core.SenderKey.load(unhex(vector.own_state));
  assert.equal(hex(own.save()), vector.own_state);
  assert.equal(hex(own.share()), vector.shared);
  const received = new core.ReceivedSenderKey(unhex(vector.shared));
  assert.equal(hex(received.save()), vector.state);
  assert.equal(received.firstIndex, vector.first_index);
  for (const { message, plaintext, index } of vector.messages) {
    const read = core.ReceivedSenderKey.load(unhex(vector.state)).decrypt(unhex(message));
    assert.deepEqual([hex(read.plaintext), read.index], [plaintext, index]);
    assert.equal(hex(own.encrypt(unhex(plaintext))), message);
  }
});

const readers = {
  session: core.Session.load,
  handshake_of: core.handshakeOf,
  shared_sender_key: (bytes) => new core.ReceivedSenderKey(bytes),
  padded: core.unpad,
  prekey: core.Prekey.load,
};

each("refused", (vector) => {
  assert.throws(() => readers[vector.reader](unhex(vector.bytes)), { name: vector.error });
});
