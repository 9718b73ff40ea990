//! Orders out of a seed: the same seed gives the same transfers, whoever carries them out.

use crate::bank::{Cents, Transfer};

/// Account numbers come from 24 random bits; no account is left out below 2^24.
pub const MAX_ACCOUNTS: u64 = 10_000_000;
pub const MAX_CENTS: Cents = 10_000;

/// The transfers of one seed. Order `index` is computed from the seed and its index alone
/// (splitmix64), so threads share nothing to draw from, and the journal need not store orders.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    seed: u64,
    accounts: u64,
}

impl Orders {
    /// Between 2 and `MAX_ACCOUNTS` accounts.
    pub fn new(seed: u64, accounts: u64) -> Orders {
        assert!((2..=MAX_ACCOUNTS).contains(&accounts));
        Orders { seed, accounts }
    }

    /// Two different accounts and 1 to `MAX_CENTS` cents, all three out of one draw of 64 bits.
    #[inline]
    pub fn get(&self, index: u64) -> Transfer {
        let draw = splitmix64(self.seed, index);
        let from = ((draw >> 40) * self.accounts) >> 24;
        // One account fewer to choose from, and those from `from` on move up by one.
        let mut to = ((draw >> 16 & 0xff_ffff) * (self.accounts - 1)) >> 24;
        if to >= from {
            to += 1;
        }
        let cents = 1 + (((draw & 0xffff) * MAX_CENTS as u64) >> 16) as Cents;
        Transfer {
            from: from as usize,
            to: to as usize,
            cents,
        }
    }
}

/// Number `index` of the random sequence that belongs to the seed.
#[inline]
fn splitmix64(seed: u64, index: u64) -> u64 {
    let step = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut z = seed.wrapping_add(step);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation (Vigna, splitmix64.c) for seed 1234567.
    #[test]
    fn the_random_numbers_are_those_of_splitmix64() {
        let numbers: Vec<u64> = (0..3).map(|index| splitmix64(1_234_567, index)).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn orders_name_two_different_known_accounts_and_a_positive_amount() {
        for accounts in [2, 3, 1_000, MAX_ACCOUNTS] {
            let orders = Orders::new(9, accounts);
            for order in (0..10_000).map(|index| orders.get(index)) {
                assert_ne!(order.from, order.to);
                assert!(order.from.max(order.to) < accounts as usize);
                assert!((1..=MAX_CENTS).contains(&order.cents));
            }
        }
    }

    #[test]
    fn every_pair_of_accounts_and_both_ends_of_the_amounts_occur() {
        let orders: Vec<_> = (0..200_000).map(|i| Orders::new(1, 3).get(i)).collect();
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let times = orders.iter().filter(|o| (o.from, o.to) == (from, to));
            assert!((30_000..37_000).contains(&times.count()));
        }
        assert_eq!(orders.iter().map(|order| order.cents).min(), Some(1));
        assert_eq!(orders.iter().map(|o| o.cents).max(), Some(MAX_CENTS));
    }

    #[test]
    fn another_seed_gives_other_orders() {
        let first = |seed| Orders::new(seed, 1_000).get(0);
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
