// error[E0594]: with the lock really removed, `sell` cannot count: others may be reading.

pub struct Seats {
    sold: u32,
    all: u32,
}

impl Seats {
    pub fn sell(&self) -> Option<u32> {
        if self.sold == self.all {
            return None;
        }
        self.sold += 1;
        Some(self.sold)
    }
}
