//! Whom to dial, and who is next.

/// The hubs, in turn.
pub(super) struct Hubs {
    addresses: Vec<String>,
    next: usize,
}

impl Hubs {
    pub(super) const fn new(addresses: Vec<String>) -> Self {
        Self { addresses, next: 0 }
    }

    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The next hub to dial.
    pub(super) fn next(&mut self) -> Option<String> {
        let at = self.next;
        self.next = (at + 1) % self.addresses.len().max(1);
        self.addresses.get(at).cloned()
    }

    /// This hub answered: it is asked first the next time.
    pub(super) fn stay(&mut self, address: &str) {
        if let Some(at) = self.addresses.iter().position(|known| known == address) {
            self.next = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_are_tried_in_turn_and_the_one_that_answered_first_again() {
        let mut hubs = Hubs::new(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            (hubs.next().as_deref(), hubs.next().as_deref(), hubs.next().as_deref()),
            (Some("a"), Some("b"), Some("a"))
        );
        hubs.stay("a");
        assert_eq!(hubs.next().as_deref(), Some("a"));
        assert_eq!(Hubs::new(Vec::new()).next(), None);
    }
}
