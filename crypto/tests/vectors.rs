//! The recorded vectors that come out the same each time: what an initiator sends.

#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use serde_json::Value;
use tidings_core::handshake::Randomness;
use tidings_core::keys::DeviceKeys;
use tidings_core::prekeys::{Bundle, BundleFields, KemPrekey, Prekey};
use tidings_core::session::Session;
use zeroize::Zeroizing;

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap()).collect()
}

fn secret(value: &Value) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(unhex(value).try_into().unwrap())
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

fn bundle(responder: &Value) -> Bundle {
    let device = DeviceKeys::load(&unhex(&responder["device_keys"])).unwrap();
    let prekey = Prekey::load(&unhex(&responder["prekey"])).unwrap().public();
    let kem = *KemPrekey::load(&unhex(&responder["kem"])).unwrap().public();
    let one_time = Some(&responder["one_time"]).filter(|key| key.is_string());
    let one_time = one_time.map(|key| Prekey::load(&unhex(key)).unwrap().public());
    let (prekey_id, kem_id) = (number(&responder["prekey_id"]), number(&responder["kem_id"]));
    Bundle::new(BundleFields {
        signing: &device.signing(),
        agreement: &device.agreement(),
        agreement_signature: &device.agreement_signature(),
        prekey_id,
        prekey: &prekey,
        prekey_signature: &device.sign_prekey(prekey_id, &prekey).unwrap(),
        kem_id,
        kem: &kem,
        kem_signature: &device.sign_kem_prekey(kem_id, &kem).unwrap(),
        one_time_id: one_time.map(|_| number(&responder["one_time_id"])),
        one_time: one_time.as_ref().map(|key| key.as_slice()),
    })
    .unwrap()
}

#[test]
fn an_initiator_sends_what_was_recorded() {
    let recorded =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors/crypto.json"));
    let vectors: Value = serde_json::from_str(&recorded.unwrap()).unwrap();
    for handshake in vectors["handshakes"].as_array().unwrap() {
        let initiator = &handshake["initiator"];
        let device = DeviceKeys::load(&unhex(&initiator["device_keys"])).unwrap();
        let random = Randomness {
            ephemeral: secret(&initiator["ephemeral"]),
            ratchet: secret(&initiator["ratchet"]),
            encapsulation: secret(&initiator["encapsulation"]),
        };
        let (bundle, context) = (bundle(&handshake["responder"]), unhex(&handshake["context"]));
        let mut session = Session::outbound_with(&device, &bundle, &context, &random).unwrap();
        assert_eq!(session.id().as_slice(), unhex(&handshake["session_id"]));
        for message in handshake["messages"].as_array().unwrap() {
            assert_eq!(session.encrypt(&unhex(&message["plaintext"])).unwrap(), unhex(&message["message"]));
        }
    }
}
