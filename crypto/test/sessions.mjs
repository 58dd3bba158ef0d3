// What the vectors cannot show: that two pages talk, on random bytes of the system.
import assert from "node:assert/strict";
import test from "node:test";
import { Phone, core, utf8 } from "./core.mjs";

const context = utf8("who they are");
const text = (bytes) => new TextDecoder().decode(bytes);

function begin() {
  const [alice, bob] = [new Phone(), new Phone()];
  const hers = core.Session.outbound(alice.device, new core.Bundle(bob.published()), context);
  return { alice, bob, hers };
}

test("they talk, and a state comes back", () => {
  const { bob, hers } = begin();
  const inbound = bob.answer(hers.encrypt(utf8("hello")), context);
  assert.equal(text(inbound.plaintext), "hello");
  const his = inbound.intoSession();
  assert.equal(hers.isAnswered, false);
  assert.equal(text(hers.decrypt(his.encrypt(utf8("answer")))), "answer");
  assert.equal(hers.isAnswered, true);
  const again = core.Session.load(hers.save());
  assert.equal(text(his.decrypt(again.encrypt(utf8("on")))), "on");
});

test("a failure is named and changes nothing", () => {
  const { bob, hers } = begin();
  const message = hers.encrypt(utf8("hello"));
  const his = bob.answer(message, context).intoSession();
  const before = his.save();
  assert.throws(() => his.decrypt(message), { name: "Undecryptable" });
  assert.deepEqual(his.save(), before);
  assert.throws(() => bob.answer(message, utf8("another")), { name: "Undecryptable" });
});

test("a swapped prekey is seen", () => {
  const { alice, bob } = begin();
  const bundle = new core.Bundle({ ...bob.published(), prekey: alice.prekey.public });
  assert.throws(() => bundle.verify(), { name: "BadSignature" });
  assert.throws(() => core.Session.outbound(alice.device, bundle, context), { name: "BadSignature" });
});

test("a bundle needs no one-time prekey", () => {
  const { bob } = begin();
  new core.Bundle({ ...bob.published(), oneTime: undefined, oneTimeId: undefined }).verify();
  new core.Bundle({ ...bob.published(), oneTime: null, oneTimeId: null }).verify();
  assert.throws(() => new core.Bundle({ ...bob.published(), oneTime: undefined }), { name: "Malformed" });
});

test("content and groups", () => {
  const { key, sealed } = core.seal(core.pad(utf8("hello")), context);
  assert.equal(text(core.unpad(core.openSealed(key, sealed, context))), "hello");
  const own = core.SenderKey.generate();
  const received = new core.ReceivedSenderKey(own.share());
  const { plaintext, index } = received.decrypt(own.encrypt(utf8("all")));
  assert.deepEqual([text(plaintext), index, own.index], ["all", 0, 1]);
});

test("noise throws errors, never a trap", () => {
  const readers = [core.Session.load, core.DeviceKeys.load, core.handshakeOf, core.unpad, core.SenderKey.load];
  for (let round = 0; round < 2000; round++) {
    const noise = crypto.getRandomValues(new Uint8Array(round % 200));
    if (noise.length && round % 2) noise[0] = 1;
    for (const read of readers) {
      try {
        read(noise);
      } catch (error) {
        assert.ok(["Malformed", "TooNew", "BadKey"].includes(error.name), error);
      }
    }
  }
});
