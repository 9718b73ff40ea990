//! The owner of processes that leaves nothing behind: whichever way out its scope is left, it asks
//! its children to end, kills those that do not, with all that they have started, and reaps them.
//!
//! On Unix, where it needs the crate `rustix`, each child leads a process group, to which its own
//! children belong unless they leave it, as a daemon does. Elsewhere there is no request to end and
//! no group: what a killed child had started has to see that by itself, as by `end_with_parent`.

#![allow(dead_code, reason = "the parent needs one part, the child another")]
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub struct Family {
    grace: Duration,
    children: Arc<Mutex<Vec<Child>>>,
}

/// A child that was reaped. Without a status if the system did it, as where SIGCHLD is ignored.
pub struct Ended {
    pub id: u32,
    pub how: How,
    pub status: Option<ExitStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    ByItself,
    WhenAsked,
    Killed,
}

impl Family {
    /// With the time that a child may take to end after it was asked to.
    pub fn new(grace: Duration) -> Family {
        let children = Arc::default();
        Family { grace, children }
    }

    /// Starts a child, with a pipe as its stdin: its end tells the child that the parent is gone.
    pub fn spawn(&self, command: &mut Command) -> io::Result<u32> {
        // The terminal sends its Ctrl-C to a whole group; in its own the child does not get it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut children = lock(&self.children);
        children.push(command.stdin(Stdio::piped()).spawn()?);
        Ok(children[children.len() - 1].id())
    }

    /// Those that are not reaped.
    pub fn children(&self) -> Vec<u32> {
        lock(&self.children).iter().map(Child::id).collect()
    }

    /// Reaps those that end within the limit; returns early when none is left.
    pub fn wait(&self, limit: Duration) -> Vec<Ended> {
        self.wait_for(How::ByItself, limit)
    }

    /// Ends all that are left: with a request first, by force after the time of grace.
    pub fn end(&self) -> Vec<Ended> {
        let mut ended = self.reap(How::ByItself);
        #[cfg(unix)]
        {
            lock(&self.children).iter().for_each(system::ask);
            ended.extend(self.wait_for(How::WhenAsked, self.grace));
        }
        ended.extend(kill(&mut lock(&self.children)));
        ended
    }

    /// For another thread, as the one that hears a second Ctrl-C: kills and reaps all at once, then
    /// calls `last`, which should end the program. Meanwhile the owner is kept waiting.
    pub fn kill_then<F: FnMut(usize)>(&self, mut last: F) -> impl FnMut() + use<F> {
        let children = self.children.clone();
        move || {
            let mut children = lock(&children);
            last(kill(&mut children).count());
        }
    }

    fn wait_for(&self, how: How, limit: Duration) -> Vec<Ended> {
        let begin = Instant::now();
        let mut ended = self.reap(how);
        while !lock(&self.children).is_empty() && begin.elapsed() < limit {
            thread::sleep(Duration::from_millis(2));
            ended.extend(self.reap(how));
        }
        ended
    }

    fn reap(&self, how: How) -> Vec<Ended> {
        let mut children = lock(&self.children);
        let ended = children.extract_if(.., system::has_ended);
        ended.map(|child| bury(child, how)).collect()
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        self.end();
    }
}

/// The list is right at every moment, so a panic elsewhere is no reason not to clean up.
fn lock(children: &Mutex<Vec<Child>>) -> MutexGuard<'_, Vec<Child>> {
    children.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(children: &mut Vec<Child>) -> impl Iterator<Item = Ended> {
    children.drain(..).map(|child| bury(child, How::Killed))
}

/// Kills what is left of the child's group, and the child if it runs, and reaps it.
fn bury(mut child: Child, how: How) -> Ended {
    // In this order: once a child is reaped, the number of its group could be a stranger's.
    system::kill_group(&mut child);
    let (id, status) = (child.id(), child.wait().ok());
    reap_group(id);
    Ended { id, how, status }
}

/// For the child: as soon as its parent has ended, however it did, this process ends with its group.
/// No `Drop` runs in a killed parent, but its end of the pipe is closed. A child's child does well to
/// call this too, with the same stdin: then it ends even if its own parent is gone before.
pub fn end_with_parent() -> io::Result<()> {
    let watch = || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        #[cfg(unix)]
        system::kill_own_group();
        std::process::exit(1);
    };
    let thread = thread::Builder::new().name("watch-parent".into());
    thread.spawn(watch).map(drop)
}

/// Makes orphaned descendants one's own children, to be reaped, instead of those of process 1, which
/// in a container often does not care. Elsewhere than on Linux it is process 1.
pub fn adopt_orphans() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Waits for all adopted processes of a group, which have to be ending.
pub fn reap_group(_leader: u32) {
    #[cfg(target_os = "linux")]
    if let Some(group) = rustix::process::Pid::from_raw(_leader.cast_signed()) {
        use rustix::process::{WaitOptions, waitpgid};
        while let Ok(_) | Err(rustix::io::Errno::INTR) = waitpgid(group, WaitOptions::empty()) {}
    }
}

#[cfg(unix)]
mod system {
    use std::process::Child;

    use rustix::io::Errno;
    use rustix::process::{self, Pid, Signal, WaitId, WaitIdOptions};

    /// It is not reaped by that. An error means that it is a child no more.
    pub fn has_ended(child: &mut Child) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let found = process::waitid(WaitId::Pid(Pid::from_child(child)), options);
        !matches!(found, Ok(None) | Err(Errno::INTR))
    }

    /// The group, so that a child that has started others need not pass it on.
    pub fn ask(child: &Child) {
        // One that was stopped hears nothing before it is continued.
        for signal in [Signal::TERM, Signal::CONT] {
            let _ = process::kill_process_group(Pid::from_child(child), signal);
        }
    }

    pub fn kill_group(child: &mut Child) {
        let _ = process::kill_process_group(Pid::from_child(child), Signal::KILL);
    }

    pub fn kill_own_group() {
        // Started otherwise, it may be in the group of a shell, say.
        if process::getpgrp() == process::getpid() {
            let _ = process::kill_current_process_group(Signal::KILL);
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::process::Child;

    pub fn has_ended(child: &mut Child) -> bool {
        !matches!(child.try_wait(), Ok(None))
    }

    pub fn kill_group(child: &mut Child) {
        let _ = child.kill();
    }
}
