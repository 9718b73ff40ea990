// error[E0599]: the helper belongs to the state, and there is no way to the state but the lock

use std::sync::Mutex;

struct State {
    cash: u64,
}

impl State {
    fn withdraw(&mut self, amount: u64) {
        self.cash -= amount;
    }
}

pub struct Account {
    state: Mutex<State>,
}

impl Account {
    pub fn withdraw(&self, amount: u64) {
        self.state.withdraw(amount);
    }
}
