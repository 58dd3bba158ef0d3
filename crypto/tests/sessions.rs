//! Sessions from end to end, and what becomes of them under bytes that nobody meant.

#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use proptest::prelude::*;
use tidings_core::content::{open_sealed, unpad};
use tidings_core::keys::DeviceKeys;
use tidings_core::prekeys::{Bundle, BundleFields, KemPrekey, Prekey};
use tidings_core::safety::compare_safety_code;
use tidings_core::sender_key::{ReceivedSenderKey, SenderKey};
use tidings_core::session::{Session, handshake_of};
use tidings_core::{Error, Result};

struct Phone {
    device: DeviceKeys,
    prekey: Prekey,
    kem: KemPrekey,
}

impl Phone {
    fn new() -> Self {
        Self {
            device: DeviceKeys::generate().unwrap(),
            prekey: Prekey::generate().unwrap(),
            kem: KemPrekey::generate().unwrap(),
        }
    }

    fn bundle(&self) -> Bundle {
        Bundle::new(BundleFields {
            signing: &self.device.signing(),
            agreement: &self.device.agreement(),
            agreement_signature: &self.device.agreement_signature(),
            prekey_id: 1,
            prekey: &self.prekey.public(),
            prekey_signature: &self.device.sign_prekey(1, &self.prekey.public()).unwrap(),
            kem_id: 2,
            kem: self.kem.public(),
            kem_signature: &self.device.sign_kem_prekey(2, self.kem.public()).unwrap(),
            one_time_id: None,
            one_time: None,
        })
        .unwrap()
    }

    fn answer(&self, message: &[u8]) -> Result<(Session, Vec<u8>)> {
        Session::inbound(&self.device, message, &self.prekey, &self.kem, None, b"")
    }
}

fn talking() -> (Session, Session) {
    let bob = Phone::new();
    let mut hers = Session::outbound(&DeviceKeys::generate().unwrap(), &bob.bundle(), b"").unwrap();
    let (mut his, _) = bob.answer(&hers.encrypt(b"hello").unwrap()).unwrap();
    hers.decrypt(&his.encrypt(b"answer").unwrap()).unwrap();
    (hers, his)
}

#[test]
fn the_header_goes_with_the_answer() {
    let bob = Phone::new();
    let mut hers = Session::outbound(&DeviceKeys::generate().unwrap(), &bob.bundle(), b"").unwrap();
    let first = hers.encrypt(b"hello").unwrap();
    assert_eq!(handshake_of(&first).unwrap().unwrap().session_id, hers.id());
    let (mut his, said) = bob.answer(&first).unwrap();
    assert_eq!((said.as_slice(), his.id()), (b"hello".as_slice(), hers.id()));
    assert!(!hers.is_answered());
    hers.decrypt(&his.encrypt(b"answer").unwrap()).unwrap();
    assert!(hers.is_answered());
    assert!(handshake_of(&hers.encrypt(b"on").unwrap()).unwrap().is_none());
}

#[test]
fn a_failure_leaves_the_session_as_it_was() {
    let (mut hers, mut his) = talking();
    let (mut stranger, _) = talking();
    let strange = stranger.encrypt(b"").unwrap();
    for session in [&mut hers, &mut his] {
        let before = session.save().unwrap();
        assert!(matches!(session.decrypt(&strange), Err(Error::Undecryptable(_))));
        assert_eq!(session.save().unwrap(), before);
    }
    assert_eq!(his.decrypt(&hers.encrypt(b"still").unwrap()).unwrap(), b"still");
}

#[test]
fn a_state_of_something_else_is_refused() {
    let (hers, _) = talking();
    let key = SenderKey::generate();
    assert!(matches!(SenderKey::load(&hers.save().unwrap()), Err(Error::Malformed(_))));
    assert!(matches!(Session::load(&key.save().unwrap()), Err(Error::Malformed(_))));
    assert!(matches!(DeviceKeys::load(&hers.save().unwrap()), Err(Error::Malformed(_))));
}

/// Every reader of bytes from outside. What they say does not matter, that they return does.
fn read_as_everything(bytes: &[u8]) {
    let _ = handshake_of(bytes);
    let _ = unpad(bytes);
    let _ = open_sealed(&[1; 32], bytes, b"");
    let _ = compare_safety_code(bytes, bytes);
    let _ = DeviceKeys::load(bytes);
    let _ = Prekey::load(bytes);
    let _ = KemPrekey::load(bytes);
    let _ = SenderKey::load(bytes).map(|mut key| key.encrypt(b""));
    let _ = ReceivedSenderKey::new(bytes);
    let _ = ReceivedSenderKey::load(bytes);
    let _ = Session::load(bytes).map(|mut session| session.encrypt(b""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn noise_is_refused(version in 0u8..3, kind in any::<u8>(), bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_as_everything(&bytes);
        read_as_everything(&[&[version, kind], bytes.as_slice()].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_messages_are_refused(places in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4)) {
        let (mut hers, mut his) = talking();
        let message = hers.encrypt(b"hello").unwrap();
        let mut changed = message.clone();
        for (place, flip) in places {
            changed[place.index(message.len())] ^= flip;
        }
        read_as_everything(&changed);
        let before = his.save().unwrap();
        if changed != message {
            prop_assert!(his.decrypt(&changed).is_err());
            prop_assert_eq!(his.save().unwrap(), before);
        }
        prop_assert_eq!(his.decrypt(&message).unwrap(), b"hello");
    }

    #[test]
    fn changed_states_do_not_panic(places in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4)) {
        let (mut hers, his) = talking();
        let mut state = his.save().unwrap();
        let length = state.len();
        for (place, flip) in places {
            state[place.index(length)] ^= flip;
        }
        read_as_everything(&state);
        if let Ok(mut loaded) = Session::load(&state) {
            let _ = loaded.decrypt(&hers.encrypt(b"hello").unwrap());
        }
    }
}
