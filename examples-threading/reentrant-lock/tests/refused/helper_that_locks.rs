// error[E0609]: a helper cannot lock once more: the state does not know which lock it is in

use std::sync::Mutex;

struct State {
    cash: u64,
}

impl State {
    fn withdraw(&mut self, amount: u64) {
        self.state.lock().unwrap().cash -= amount;
    }
}

pub struct Account {
    state: Mutex<State>,
}

impl Account {
    pub fn withdraw(&self, amount: u64) {
        self.state.lock().unwrap().withdraw(amount);
    }
}
