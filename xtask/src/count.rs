//! Counting tests in what libtest prints.
//!
//! ```text
//! running 3 tests                          a test program begins
//! test NAME ... ok                           results as they come
//! successes:                               (--show-output) what passing tests printed:
//! ---- NAME stdout ----                      of which test
//! skipped: why                               that test could not do its work here
//! successes:                               their names once more
//! failures:                                what failing tests printed
//! failures:                                their names once more
//! test result: ok. 3 passed; 0 failed; 0 ignored; ...      the test program ends
//! ```
//!
//! Some tests start a test program themselves, and what that one prints may stand anywhere before
//! the names: only a result behind the names is one of ours.
//!
//! A test that prints `skipped: why` counts as skipped, not as passed; so does an ignored one. A
//! test whose output nobody shows (it ran in a process of its own) appends the same line to the
//! file named by `ARRIVAL_SKIPS`. A test program that ends without a result is one failure.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::{Outcome, workspace};

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Count {
    /// Whether tests ran and none failed; a skipped one is no failure unless `required` says so.
    pub(crate) fn good(self, required: bool) -> bool {
        self.failed == 0 && self.passed > 0 && !(required && self.skipped > 0)
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Which part of a test program's output a line belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Part {
    /// No test program runs.
    #[default]
    Outside,
    /// Results as they come.
    Results,
    /// What passing tests printed; the test whose output this is.
    Printed(String),
    /// The names of passing tests.
    Names,
    /// What failing tests printed.
    Failed,
    /// The names of failing tests.
    FailedNames,
}

/// Reads the lines of one or more test programs.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    count: Count,
    part: Part,
    /// Tests of the open program that said that they were skipped.
    skipped: BTreeSet<String>,
    /// Every `skipped: why` that was seen.
    reasons: BTreeSet<String>,
    /// What failing tests printed, to be said once more where it is found: at the end.
    failures: Vec<String>,
}

impl Counter {
    /// Takes a line in and says whether it is worth showing.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        match &mut self.part {
            Part::Outside if is_beginning(line) => self.part = Part::Results,
            Part::Results if line == "successes:" => self.part = Part::Printed(String::new()),
            Part::Printed(_) if line == "successes:" => {
                self.part = Part::Names;
                return false;
            }
            Part::Names if line == "failures:" => self.part = Part::Failed,
            Part::Failed if line == "failures:" => self.part = Part::FailedNames,
            Part::Printed(test) => {
                if let Some(name) = header(line) {
                    *test = name.to_owned();
                } else if line.starts_with("skipped: ") {
                    self.skipped.insert(test.clone());
                    self.reasons.insert(line.to_owned());
                }
            }
            Part::Names | Part::FailedNames => {
                if let Some(count) = result(line) {
                    self.ended(count);
                }
            }
            Part::Failed if self.failures.len() < MOST_REPEATED => {
                self.failures.push(line.to_owned());
            }
            Part::Outside | Part::Results | Part::Failed => {}
        }
        self.part != Part::Names
    }

    /// A test program ended with this result.
    fn ended(&mut self, mut count: Count) {
        let skipped = (self.skipped.len() as u64).min(count.passed);
        count.passed -= skipped;
        count.skipped += skipped;
        self.count += count;
        self.skipped.clear();
        self.part = Part::Outside;
    }

    /// Takes in the lines of the file of skips; those that were seen already are counted already.
    pub(crate) fn file(&mut self, text: &str) {
        for line in text.lines().filter(|line| line.starts_with("skipped: ")) {
            if self.reasons.insert(line.to_owned()) {
                self.count.passed = self.count.passed.saturating_sub(1);
                self.count.skipped += 1;
            }
        }
    }

    /// The count; `success` says how the command that ran the programs ended.
    pub(crate) fn finish(mut self, success: bool) -> Count {
        // A program that never ended, or a command that failed before or between them.
        if self.count.failed == 0 && (!success || self.part != Part::Outside) {
            self.count.failed = 1;
        }
        self.count
    }
}

/// `running 3 tests`
fn is_beginning(line: &str) -> bool {
    line.strip_prefix("running ")
        .and_then(|rest| rest.split_once(' '))
        .is_some_and(|(number, word)| {
            number.parse::<u64>().is_ok() && matches!(word, "test" | "tests")
        })
}

/// `---- NAME stdout ----`
fn header(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`
fn result(line: &str) -> Option<Count> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let of = |what: &str| {
        numbers
            .split("; ")
            .find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
    };
    Some(Count {
        passed: of("passed")?,
        failed: of("failed")?,
        skipped: of("ignored")?,
    })
}

/// How many lines of failing tests are said once more.
const MOST_REPEATED: usize = 200;

/// How long tests may print nothing. A test that waits for ever would keep the whole run from an
/// answer; the longest that is not deep takes a minute, and compiling prints nothing here either.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// How long the output is waited for once `cargo test` has ended: what a test left running by
/// mistake may hold it open.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Runs a `cargo test` to its end, shows what it prints, and counts.
///
/// If it prints nothing for as long as `patience`, it is ended with all its processes and fails. What
/// failing tests printed is added to `failures`.
pub(crate) fn run(
    command: &mut Command,
    patience: Duration,
    failures: &mut Vec<String>,
) -> Outcome<Count> {
    let skips = workspace::target().join("skips");
    fs::write(&skips, "")?;
    // Tests that have become another user write to it too.
    fs::set_permissions(&skips, Permissions::from_mode(0o666))?;
    command.env("ARRIVAL_SKIPS", &skips);
    let (mut counter, success) = watch(command, patience)?;
    counter.file(&fs::read_to_string(&skips)?);
    failures.append(&mut counter.failures);
    Ok(counter.finish(success))
}

/// Counts in what a command prints, and says whether it ended well.
fn watch(command: &mut Command, patience: Duration) -> Outcome<(Counter, bool)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("no output to read")?;
    let lines = lines_of(output);
    let mut counter = Counter::default();
    let mut screen = io::stdout().lock();
    let mut heard = Instant::now();
    let status = loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                heard = Instant::now();
                let text = String::from_utf8_lossy(&line);
                if counter.line(text.trim_end_matches(['\n', '\r'])) {
                    screen.write_all(&line)?;
                    screen.flush()?;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break child.wait()?,
            Err(RecvTimeoutError::Timeout) => {
                let silence = heard.elapsed();
                if let Some(status) = child.try_wait()? {
                    if silence >= AFTERWARDS {
                        eprintln!("xtask: a test has left a process that holds its output open");
                        break status;
                    }
                } else if silence >= patience {
                    let seconds = patience.as_secs();
                    eprintln!("xtask: no test has said anything for {seconds} s; ended");
                    end_with_descendants(&mut child)?;
                    break child.wait()?;
                }
            }
        }
    };
    Ok((counter, status.success()))
}

/// The lines of an output, as they come.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, lines) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        // An error of the pipe is its end.
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    lines
}

/// Kills a process and all below it, parents first: they would go on with what comes next.
fn end_with_descendants(child: &mut Child) -> io::Result<()> {
    let all = processes()?;
    let mut tree = vec![child.id()];
    let mut at = 0;
    while let Some(parent) = tree.get(at).copied() {
        tree.extend(
            all.iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    child.kill()?;
    for pid in tree.into_iter().skip(1) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // It may have ended by itself.
        let _ = pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    }
    Ok(())
}

/// Every process with its parent.
fn processes() -> io::Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        // One that is gone is no process.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        if let Some(parent) = parent.and_then(|number| number.parse().ok()) {
            found.push((pid, parent));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str, success: bool) -> Count {
        let mut counter = Counter::default();
        for line in text.lines() {
            counter.line(line);
        }
        counter.finish(success)
    }

    const TWO_PROGRAMS: &str = "
running 3 tests
test a ... ok
test b ... ok
test c ... ignored

successes:

---- b stdout ----
skipped: needs root
skipped: and a network namespace


successes:
    a
    b

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s


running 2 tests
test d ... ok
test e ... FAILED

successes:

successes:
    d

failures:

---- e stdout ----
skipped: no, it failed


failures:
    e

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_test_that_says_skipped_counts_once_and_not_as_passed() {
        let count = counted(TWO_PROGRAMS, false);
        assert_eq!(count.to_string(), "2 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn a_skip_that_only_the_file_tells_of_counts_too() {
        let mut counter = Counter::default();
        TWO_PROGRAMS.lines().for_each(|line| {
            counter.line(line);
        });
        counter.file("skipped: needs root\nskipped: a user namespace is needed\n");
        let count = counter.finish(false);
        assert_eq!(count.to_string(), "1 passed, 1 failed, 3 skipped");
    }

    /// A program with one test, before whose result and within whose output another program ran.
    const NESTED: &str = "\
running 1 test

running 1 test
test a ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s
running 1 test
test a ... ok

successes:

---- a stdout ----
running 7 tests
test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s


successes:
    a

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_test_program_that_a_test_starts_is_not_counted() {
        let count = counted(NESTED, true);
        assert_eq!(count.to_string(), "1 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_program_that_ends_without_a_result_is_a_failure() {
        assert_eq!(counted("running 1 test\n", true).failed, 1);
        let cut = NESTED.rsplit_once("test result").map(|(text, _)| text);
        assert_eq!(counted(cut.unwrap_or_default(), true).failed, 1);
    }

    #[test]
    fn a_command_that_fails_before_any_test_is_a_failure() {
        let count = counted("", false);
        assert_eq!(count.to_string(), "0 passed, 1 failed, 0 skipped");
        assert!(!count.good(false));
    }

    #[test]
    fn no_test_at_all_is_not_good() {
        assert!(!counted("", true).good(false));
    }

    #[test]
    fn a_skipped_test_is_good_unless_it_was_required() {
        let count = Count {
            passed: 1,
            failed: 0,
            skipped: 1,
        };
        assert!(count.good(false));
        assert!(!count.good(true));
    }

    #[test]
    fn the_names_of_passing_tests_are_not_shown_twice() {
        let mut counter = Counter::default();
        let shown: Vec<&str> = TWO_PROGRAMS
            .lines()
            .filter(|line| counter.line(line))
            .collect();
        assert!(shown.contains(&"test a ... ok"));
        assert!(shown.contains(&"skipped: needs root"));
        assert!(!shown.contains(&"    a"));
        assert!(shown.contains(&"    e"));
    }

    #[test]
    fn what_failing_tests_printed_is_kept() {
        let mut counter = Counter::default();
        TWO_PROGRAMS.lines().for_each(|line| {
            counter.line(line);
        });
        let said: Vec<_> = counter.failures.iter().filter(|l| !l.is_empty()).collect();
        assert_eq!(said, ["---- e stdout ----", "skipped: no, it failed"]);
    }

    #[test]
    fn tests_that_say_nothing_are_ended_with_all_below_them() {
        // A time that names these processes and no others.
        let time = format!("600.{}", std::process::id());
        let mut silent = Command::new("sh");
        silent.args(["-c", &format!("(sleep {time}; true) & sleep {time}; true")]);
        let watched = watch(&mut silent, Duration::from_millis(300));
        assert!(matches!(watched, Ok((_, false))), "{watched:?}");
        let command = format!("sleep\0{time}\0").into_bytes();
        let is_one =
            |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c == command);
        let any = || processes().is_ok_and(|all| all.iter().any(|(pid, _)| is_one(*pid)));
        let begun = Instant::now();
        while any() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{time}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn an_output_that_is_held_open_is_not_waited_for() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 20 &"]);
        let begun = Instant::now();
        let watched = watch(&mut command, Duration::from_secs(30));
        assert!(matches!(watched, Ok((_, true))), "{watched:?}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
