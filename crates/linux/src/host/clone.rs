//! The clone itself and what the child does until it is another program.
//!
//! ```text
//! shared    clone3(VM|VFORK|PIDFD|INTO_CGROUP)  the child borrows our memory, this thread waits until exec
//! copied    clone3(PIDFD|INTO_CGROUP)           for a program that runs as somebody else
//! plain     fork, pidfd_open, cgroup.procs      where clone3 is refused (seccomp answers ENOSYS or EPERM)
//!
//! child:    join? -> signals -> session, umask -> LISTEN_PID -> 0,1,2,3.. -> close the rest -> limit
//!                 -> groups, gid, uid -> directory -> unblock -> execve      else: report (step, errno), exit 127
//! ```
//!
//! Between the clone and execve the child makes raw system calls only: no allocation, no lock, no errno, no
//! panic, for in the shared case all of these would be the parent's. Sharing memory is about twice as fast as
//! copying page tables. It is not done when the child becomes another user, so that no process of that user
//! ever has our memory, nor can stop the thread that waits for it.
//!
//! Sources: clone(2), vfork(2), cgroups(7), execve(2).

use std::ffi::{c_char, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::spec::Step;

/// libc gives 0 for this on 64-bit targets: its `c_int` cannot hold it. Source: linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VM: u64 = 0x100;
const CLONE_VFORK: u64 = 0x4000;

/// The child's stack: its frames need less than 1 KiB, the rest is room for debug builds.
const STACK: usize = 32 * 1024;
const PAGES: usize = 64 * 1024;

/// How long a probe waits to be killed before it ends by itself.
const PROBE_SECONDS: libc::c_long = 10;

/// The kernel's `struct clone_args`, 88 bytes.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Everything the child needs, laid out beforehand; the pointers are valid until the clone has returned.
#[repr(C)]
pub(super) struct Orders {
    /// The path to execute; null: wait to be killed (a probe of a containment).
    pub(super) path: *const c_char,
    /// Null-terminated array of arguments.
    pub(super) argv: *const *const c_char,
    /// Null-terminated array of environment strings.
    pub(super) envp: *const *const c_char,
    /// Where to go before executing.
    pub(super) cwd: *const c_char,
    /// Room for eleven bytes where the child writes its own pid in decimal; null if unwanted.
    pub(super) listen_pid: *mut u8,
    /// Descriptors that become 0, 1, 2 and so on; all lie above the last target and the report's.
    pub(super) fds: *const i32,
    /// How many.
    pub(super) fd_count: usize,
    /// Where a failure is reported; it becomes descriptor `fd_count`.
    pub(super) report: i32,
    /// `cgroup.procs` of the host, to be entered by writing; -1 if the clone does it.
    pub(super) join: i32,
    /// Nonzero: set groups, gid and uid.
    pub(super) set_ids: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: *const u32,
    pub(super) group_count: usize,
    pub(super) umask: u32,
    /// Soft and hard limit of open files.
    pub(super) nofile: [u64; 2],
    /// Nonzero: set `nofile`.
    pub(super) set_nofile: u32,
    /// Who makes a probe, and whom it must not outlive.
    pub(super) maker: u32,
}

/// Makes the process. On success the child owns nothing of ours once this returns (copied or executed).
///
/// `cgroup` is the host's folder and its `cgroup.procs`, for the two ways of entering it.
pub(super) fn start(
    orders: &mut Orders,
    cgroup: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
    shared: bool,
) -> io::Result<(u32, OwnedFd)> {
    let stack = Stack::new()?;
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: CLONE_PIDFD,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some((folder, _)) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(folder.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    }
    if shared && OWN_STACK {
        args.flags |= CLONE_VM | CLONE_VFORK;
    }
    if OWN_STACK {
        args.stack = stack.bottom();
        args.stack_size = STACK as u64;
    }
    orders.join = -1;

    let blocked = Blocked::all();
    // SAFETY: `args` and what it points to live through the call; `orders` is only read and outlives the
    // child's use of it, since a sharing child holds this thread until it has executed or exited.
    let mut done = unsafe { clone3(&args, orders) };
    let mut pidfd_known = true;
    if done == -(libc::ENOSYS as isize) || done == -(libc::EPERM as isize) {
        orders.join = cgroup.map_or(-1, |(_, procs)| procs.as_raw_fd());
        // SAFETY: the child runs `child`, which makes raw system calls only and never returns.
        done = unsafe { libc::fork() } as isize;
        match done {
            // SAFETY: this is the new process; `orders` is its own copy now.
            0 => unsafe { child(orders) },
            -1 => {
                done = -(io::Error::last_os_error()
                    .raw_os_error()
                    .unwrap_or(libc::EAGAIN) as isize)
            }
            _ => pidfd_known = false,
        }
    }
    drop(blocked);
    drop(stack);

    if done < 0 {
        return Err(io::Error::from_raw_os_error(done.unsigned_abs() as i32));
    }
    let pid = done.unsigned_abs() as u32;
    let pidfd = if pidfd_known {
        // SAFETY: the kernel stored a new descriptor there that nobody else knows.
        unsafe { OwnedFd::from_raw_fd(pidfd) }
    } else {
        // Nobody has waited for our child yet, so its number cannot mean another process.
        super::sys::pidfd_open(pid)?
    };
    Ok((pid, pidfd))
}

/// A mapping for the child's stack, with a page below it that faults.
struct Stack(*mut c_void);

impl Stack {
    fn new() -> io::Result<Self> {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                STACK + PAGES,
                ProtFlags::empty(),
                flags,
            )?
        };
        let stack = Self(base);
        // SAFETY: the range lies within the mapping just made.
        unsafe {
            mprotect(
                base.byte_add(PAGES),
                STACK,
                MprotectFlags::READ | MprotectFlags::WRITE,
            )?;
        }
        Ok(stack)
    }

    /// The lowest usable address; clone3 adds the size itself.
    fn bottom(&self) -> u64 {
        (self.0.addr() + PAGES) as u64
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no child runs on it any more in our memory.
        let _ = unsafe { rustix::mm::munmap(self.0, STACK + PAGES) };
    }
}

/// All signals blocked in this thread, those of the C library's own use included, until dropped.
struct Blocked([u64; 2]);

impl Blocked {
    fn all() -> Self {
        let all = [u64::MAX; 2];
        let mut old = [0_u64; 2];
        set_mask(&all, Some(&mut old));
        Self(old)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(&self.0, None);
    }
}

/// Bytes of the kernel's own sigset_t.
const SIGSET: usize = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
    16
} else {
    8
};

fn set_mask(new: &[u64; 2], old: Option<&mut [u64; 2]>) {
    let old = old.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: both sets are at least as long as the size given, and live through the call.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            new.as_ptr(),
            old,
            SIGSET,
        )
    };
}

/// Where the architecture has a clone of its own below, the child gets a stack of its own.
const OWN_STACK: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// clone3 whose child calls [`child`] on the stack given in `args` and never comes back.
///
/// # Safety
/// `args` and everything it points to must be valid; `orders` must stay so until the child executes.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: &CloneArgs, orders: &Orders) -> isize {
    let done: isize;
    // SAFETY: in the parent only the named registers change; the child has another stack and leaves through
    // `child`, which does not return.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => done,
            in("rdi") std::ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r8") std::ptr::from_ref(orders),
            in("r9") child as unsafe extern "C" fn(*const Orders) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    done
}

/// clone3 whose child calls [`child`] on the stack given in `args` and never comes back.
///
/// # Safety
/// `args` and everything it points to must be valid; `orders` must stay so until the child executes.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: &CloneArgs, orders: &Orders) -> isize {
    let done: isize;
    // SAFETY: in the parent only the named registers change; the child has another stack and leaves through
    // `child`, which does not return.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x9",
            "blr x10",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") std::ptr::from_ref(args).addr() as isize => done,
            in("x1") size_of::<CloneArgs>(),
            in("x9") std::ptr::from_ref(orders),
            in("x10") child as unsafe extern "C" fn(*const Orders) -> !,
        );
    }
    done
}

/// clone3 with a copied address space, where the child simply returns into this frame.
///
/// # Safety
/// `args` and everything it points to must be valid.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(args: &CloneArgs, orders: &Orders) -> isize {
    // SAFETY: without CLONE_VM and with no stack given this is fork: both processes return here.
    let done = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_ref(args),
            size_of::<CloneArgs>(),
        )
    };
    match done {
        // SAFETY: this is the new process; `orders` is its own copy.
        0 => unsafe { child(orders) },
        -1 => {
            -(io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EAGAIN) as isize)
        }
        pid => pid as isize,
    }
}

/// The child's way to another program.
///
/// # Safety
/// `orders` must be complete. Runs on memory it may share: raw system calls and its own stack only.
unsafe extern "C" fn child(orders: *const Orders) -> ! {
    // SAFETY: the caller's promise; nothing below reads past what the orders count.
    unsafe {
        let orders = &*orders;
        if orders.join >= 0 {
            // "0" is the writing process itself.
            let done = raw(
                libc::SYS_write,
                orders.join as usize,
                b"0".as_ptr().addr(),
                1,
                0,
                0,
            );
            check(orders.report, Step::Join, done);
        }
        if orders.path.is_null() {
            // The daemon may be killed at this moment. A probe that outlived it with its descriptors
            // would hold its lock, and no other daemon could start.
            raw(libc::SYS_close_range, 0, u32::MAX as usize, 0, 0, 0);
            raw(
                libc::SYS_prctl,
                libc::PR_SET_PDEATHSIG as usize,
                libc::SIGKILL as usize,
                0,
                0,
                0,
            );
            // It may have been gone before that call, and then nothing signals.
            if raw(libc::SYS_getppid, 0, 0, 0, 0, 0) == orders.maker as isize {
                let time = [PROBE_SECONDS, 0];
                raw(libc::SYS_ppoll, 0, 0, time.as_ptr().addr(), 0, 0);
            }
            exit()
        }

        // Longer than any kernel_sigaction; zero is SIG_DFL, no flags, an empty mask.
        let default = [0_u64; 8];
        let mut signal = 1;
        while signal <= 64 {
            // SIGKILL and SIGSTOP answer EINVAL, which is right.
            raw(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr().addr(),
                0,
                SIGSET,
                0,
            );
            signal = signal.wrapping_add(1);
        }
        check(
            orders.report,
            Step::Session,
            raw(libc::SYS_setsid, 0, 0, 0, 0, 0),
        );
        raw(libc::SYS_umask, orders.umask as usize, 0, 0, 0, 0);
        if !orders.listen_pid.is_null() {
            write_decimal(orders.listen_pid, raw(libc::SYS_getpid, 0, 0, 0, 0, 0));
        }

        let mut target = 0;
        while target < orders.fd_count {
            let source = *orders.fds.wrapping_add(target);
            let done = raw(libc::SYS_dup3, source as usize, target, 0, 0, 0);
            check(orders.report, Step::Descriptors, done);
            target = target.wrapping_add(1);
        }
        let done = raw(
            libc::SYS_dup3,
            orders.report as usize,
            target,
            libc::O_CLOEXEC as usize,
            0,
            0,
        );
        check(orders.report, Step::Descriptors, done);
        let report = target as i32;
        let done = raw(
            libc::SYS_close_range,
            target.wrapping_add(1),
            u32::MAX as usize,
            0,
            0,
            0,
        );
        check(report, Step::Descriptors, done);

        if orders.set_nofile != 0 {
            let limit = orders.nofile.as_ptr().addr();
            let done = raw(
                libc::SYS_prlimit64,
                0,
                libc::RLIMIT_NOFILE as usize,
                limit,
                0,
                0,
            );
            check(report, Step::Limit, done);
        }
        if orders.set_ids != 0 {
            let (uid, gid) = (orders.uid as usize, orders.gid as usize);
            let done = raw(SETGROUPS, orders.group_count, orders.groups.addr(), 0, 0, 0);
            check(report, Step::Groups, done);
            check(report, Step::Gid, raw(SETRESGID, gid, gid, gid, 0, 0));
            check(report, Step::Uid, raw(SETRESUID, uid, uid, uid, 0, 0));
        }
        check(
            report,
            Step::Chdir,
            raw(libc::SYS_chdir, orders.cwd.addr(), 0, 0, 0, 0),
        );

        let none = [0_u64; 2];
        let set = none.as_ptr().addr();
        raw(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as usize,
            set,
            0,
            SIGSET,
            0,
        );
        let (argv, envp) = (orders.argv.addr(), orders.envp.addr());
        let done = raw(libc::SYS_execve, orders.path.addr(), argv, envp, 0, 0);
        check(report, Step::Exec, done);
        exit()
    }
}

// On the two 32-bit architectures that once had 16-bit ids the plain numbers still mean those.
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
use libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
use libc::{
    SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
};

/// Reports a failed step and ends the child.
///
/// # Safety
/// Only in the child.
unsafe fn check(report: i32, step: Step, done: isize) {
    if done < 0 {
        let words = [step as u32, done.wrapping_neg() as u32];
        // SAFETY: eight bytes of our own stack; a pipe takes them whole.
        unsafe {
            raw(
                libc::SYS_write,
                report as usize,
                words.as_ptr().addr(),
                size_of_val(&words),
                0,
                0,
            );
            exit()
        }
    }
}

/// Ends the child without running anything of ours.
///
/// # Safety
/// Only in the child.
unsafe fn exit() -> ! {
    loop {
        // SAFETY: the call does not return; the loop is for the type.
        unsafe { raw(libc::SYS_exit_group, 127, 0, 0, 0, 0) };
    }
}

/// Writes a positive number in decimal and a NUL behind it.
///
/// # Safety
/// `place` has room for eleven bytes.
unsafe fn write_decimal(place: *mut u8, number: isize) {
    let mut number = number as u32;
    let mut digits = 1_usize;
    let mut rest = number / 10;
    while rest != 0 {
        digits = digits.wrapping_add(1);
        rest /= 10;
    }
    // SAFETY: a u32 has at most ten digits, and the caller gave room for eleven bytes.
    unsafe {
        *place.wrapping_add(digits) = 0;
        while digits != 0 {
            digits = digits.wrapping_sub(1);
            *place.wrapping_add(digits) = b'0'.wrapping_add((number % 10) as u8);
            number /= 10;
        }
    }
}

/// A system call of up to five arguments; a failure is the negative errno.
///
/// # Safety
/// As the call itself.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn raw(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let done: isize;
    // SAFETY: the kernel changes rax, rcx, r11 and memory only.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => done,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    done
}

/// A system call of up to five arguments; a failure is the negative errno.
///
/// # Safety
/// As the call itself.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn raw(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let done: isize;
    // SAFETY: the kernel changes x0 and memory only.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => done,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack),
        );
    }
    done
}

/// A system call of up to five arguments; a failure is the negative errno.
///
/// # Safety
/// As the call itself.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn raw(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    // SAFETY: here the child's memory is a copy, so that errno is its own.
    let done = unsafe { libc::syscall(number, a, b, c, d, e) };
    if done == -1 {
        // SAFETY: the address is this thread's own errno.
        -(unsafe { *libc::__errno_location() } as isize)
    } else {
        done as isize
    }
}

#[cfg(test)]
mod tests;
