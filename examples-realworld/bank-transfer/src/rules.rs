//! The orders that a bank has to refuse, as a table that the program shows and checks.

use crate::bank::{Bank, Cents, Refused, Transfer};

const BALANCE: Cents = 100;

pub enum Order {
    Deposit(usize, Cents),
    Withdraw(usize, Cents),
    Transfer(usize, usize, Cents),
}

/// Each refused by a bank with the accounts 0, 1 and 2 and `BALANCE` cents in each.
pub const REFUSED: [(Order, Refused); 10] = [
    (Order::Deposit(0, 0), Refused::NotPositive(0)),
    (Order::Deposit(3, 1), Refused::UnknownAccount(3)),
    (
        Order::Deposit(0, Cents::MAX),
        Refused::Overflow {
            balance: BALANCE,
            cents: Cents::MAX,
        },
    ),
    (Order::Withdraw(0, -5), Refused::NotPositive(-5)),
    (Order::Withdraw(0, BALANCE + 1), lacking(BALANCE + 1)),
    (Order::Withdraw(9, 1), Refused::UnknownAccount(9)),
    (Order::Transfer(0, 1, -5), Refused::NotPositive(-5)),
    (Order::Transfer(0, 1, BALANCE + 1), lacking(BALANCE + 1)),
    (Order::Transfer(1, 1, 1), Refused::SameAccount(1)),
    (Order::Transfer(1, 3, 1), Refused::UnknownAccount(3)),
];

const fn lacking(cents: Cents) -> Refused {
    Refused::Insufficient {
        balance: BALANCE,
        cents,
    }
}

impl Order {
    fn give<B: Bank>(&self, bank: &B) -> Result<(), Refused> {
        match *self {
            Order::Deposit(account, cents) => bank.deposit(account, cents).map(drop),
            Order::Withdraw(account, cents) => bank.withdraw(account, cents).map(drop),
            Order::Transfer(from, to, cents) => bank.transfer(Transfer { from, to, cents }),
        }
    }

    pub fn text(&self) -> String {
        match self {
            Order::Deposit(account, cents) => format!("deposit {cents} to {account}"),
            Order::Withdraw(account, cents) => format!("withdraw {cents} from {account}"),
            Order::Transfer(from, to, cents) => format!("transfer {cents} from {from} to {to}"),
        }
    }
}

/// The first rule that a bank of type `B` does not keep.
pub fn broken_by<B: Bank>() -> Option<String> {
    let Ok(bank) = B::open(3, BALANCE) else {
        return Some("no account could be opened".into());
    };
    if B::open(3, -BALANCE).is_ok() {
        return Some("an account could be opened with a debt".into());
    }
    for (order, reason) in &REFUSED {
        let outcome = order.give(&bank);
        if outcome != Err(*reason) {
            return Some(format!("{} gave {outcome:?}, not {reason:?}", order.text()));
        }
        let mut changed = false;
        bank.snapshot(|balance| changed |= balance != BALANCE);
        if changed {
            return Some(format!(
                "{} was refused and changed a balance",
                order.text()
            ));
        }
    }
    None
}
