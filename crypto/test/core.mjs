// The module as a browser gets it, from the files that the server hands out.
import fs from "node:fs";
import * as core from "../web/tidings_core.js";

core.initSync({ module: fs.readFileSync(new URL("../web/tidings_core_bg.wasm", import.meta.url)) });

export { core };
export const unhex = (text) => new Uint8Array(Buffer.from(text, "hex"));
export const hex = (bytes) => Buffer.from(bytes).toString("hex");
export const utf8 = (text) => new TextEncoder().encode(text);
export const vectors = JSON.parse(fs.readFileSync(new URL("../../spec/vectors/crypto.json", import.meta.url)));

// A device with its published keys.
export class Phone {
  device = core.DeviceKeys.generate();
  prekey = core.Prekey.generate();
  kem = core.KemPrekey.generate();
  oneTime = core.Prekey.generate();

  published() {
    return {
      signing: this.device.signing,
      agreement: this.device.agreement,
      agreementSignature: this.device.agreementSignature,
      prekeyId: 1n,
      prekey: this.prekey.public,
      prekeySignature: this.device.signPrekey(1n, this.prekey.public),
      kemId: 2n ** 63n,
      kem: this.kem.public,
      kemSignature: this.device.signKemPrekey(2n ** 63n, this.kem.public),
      oneTimeId: 2n ** 64n - 1n,
      oneTime: this.oneTime.public,
    };
  }

  answer(message, context) {
    const oneTime = core.Prekey.load(this.oneTime.secret());
    return core.Session.inbound(this.device, message, this.prekey, this.kem, oneTime, context);
  }
}
