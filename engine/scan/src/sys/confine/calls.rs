//! The system calls that a scan needs, and no others: a seccomp filter.

use std::io;

use socket2::SockFilter;

use super::promise_no_new_privileges;

/// When a call is allowed.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// One of its arguments is one of these, by its low 32 bits, which is all that the kernel looks at.
    Is(u8, &'static [u32]),
    /// One of its arguments is none of these.
    IsNot(u8, &'static [u32]),
    /// One of its arguments has all these bits.
    Has(u8, u32),
    /// Never, with an error that has the C library take the older call instead.
    NotKnown,
}

const fn always(call: libc::c_long) -> (libc::c_long, When) {
    (call, When::Always)
}

/// Read-modify-write of maps and running programs that are loaded; neither loading nor attaching.
const BPF_COMMANDS: &[u32] = &[1, 2, 3, 4, 10, 24, 26];
/// Pushing characters into somebody's terminal, and the console's other powers.
const TERMINAL_INJECTION: &[u32] = &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32];
/// Names of threads, and the promise that can only be made and never taken back.
const PROCESS_SETTINGS: &[u32] =
    &[libc::PR_SET_NAME as u32, libc::PR_GET_NAME as u32, libc::PR_SET_NO_NEW_PRIVS as u32];
const DOMAINS: &[u32] = &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32];

/// The calling thread, where another could be named.
const ITSELF: &[u32] = &[0];

/// What may be called: memory, threads, time, open descriptors, internet sockets. Nothing starts a program, looks into
/// another process, loads a program into the kernel, opens a raw or packet socket, or changes who we are.
const ALLOWED: &[(libc::c_long, When)] = &[
    // The busiest first: the filter is read from the top.
    always(libc::SYS_futex),
    always(libc::SYS_sendto),
    always(libc::SYS_sendmmsg),
    always(libc::SYS_ppoll),
    always(libc::SYS_epoll_pwait),
    always(libc::SYS_read),
    always(libc::SYS_write),
    always(libc::SYS_clock_nanosleep),
    // Memory.
    always(libc::SYS_brk),
    always(libc::SYS_madvise),
    always(libc::SYS_membarrier),
    always(libc::SYS_mmap),
    always(libc::SYS_mprotect),
    always(libc::SYS_mremap),
    always(libc::SYS_munmap),
    // Threads of this process, and its end.
    (libc::SYS_clone, When::Has(0, libc::CLONE_THREAD as u32)),
    (libc::SYS_clone3, When::NotKnown),
    always(libc::SYS_exit),
    always(libc::SYS_exit_group),
    always(libc::SYS_getpid),
    always(libc::SYS_getpriority),
    always(libc::SYS_gettid),
    (libc::SYS_setpriority, When::Is(1, ITSELF)),
    (libc::SYS_prctl, When::Is(0, PROCESS_SETTINGS)),
    always(libc::SYS_rseq),
    always(libc::SYS_sched_getaffinity),
    always(libc::SYS_sched_setaffinity),
    always(libc::SYS_sched_yield),
    always(libc::SYS_set_robust_list),
    always(libc::SYS_set_tid_address),
    always(libc::SYS_tgkill),
    // More confinement.
    always(libc::SYS_landlock_add_rule),
    always(libc::SYS_landlock_create_ruleset),
    always(libc::SYS_landlock_restrict_self),
    // Signals.
    always(libc::SYS_restart_syscall),
    always(libc::SYS_rt_sigaction),
    always(libc::SYS_rt_sigprocmask),
    always(libc::SYS_rt_sigreturn),
    always(libc::SYS_sigaltstack),
    // Time and chance.
    always(libc::SYS_clock_getres),
    always(libc::SYS_clock_gettime),
    always(libc::SYS_getrandom),
    always(libc::SYS_gettimeofday),
    always(libc::SYS_nanosleep),
    always(libc::SYS_timerfd_create),
    always(libc::SYS_timerfd_settime),
    // Files: which of them, Landlock and the file system's own rights decide.
    always(libc::SYS_close),
    always(libc::SYS_dup),
    always(libc::SYS_dup3),
    always(libc::SYS_faccessat),
    always(libc::SYS_fallocate),
    always(libc::SYS_fcntl),
    always(libc::SYS_fdatasync),
    always(libc::SYS_flock),
    always(libc::SYS_fstat),
    always(libc::SYS_fsync),
    always(libc::SYS_ftruncate),
    always(libc::SYS_getcwd),
    always(libc::SYS_getdents64),
    (libc::SYS_ioctl, When::IsNot(1, TERMINAL_INJECTION)),
    always(libc::SYS_lseek),
    always(libc::SYS_mkdirat),
    always(libc::SYS_newfstatat),
    always(libc::SYS_openat),
    always(libc::SYS_pread64),
    always(libc::SYS_pwrite64),
    always(libc::SYS_readlinkat),
    always(libc::SYS_readv),
    always(libc::SYS_renameat),
    always(libc::SYS_renameat2),
    always(libc::SYS_statx),
    always(libc::SYS_unlinkat),
    always(libc::SYS_writev),
    // Waiting.
    always(libc::SYS_epoll_create1),
    always(libc::SYS_epoll_ctl),
    always(libc::SYS_epoll_pwait2),
    always(libc::SYS_eventfd2),
    always(libc::SYS_pipe2),
    always(libc::SYS_pselect6),
    // Sockets.
    always(libc::SYS_bind),
    always(libc::SYS_connect),
    always(libc::SYS_getpeername),
    always(libc::SYS_getsockname),
    always(libc::SYS_getsockopt),
    always(libc::SYS_recvfrom),
    always(libc::SYS_recvmmsg),
    always(libc::SYS_recvmsg),
    always(libc::SYS_sendmsg),
    always(libc::SYS_setsockopt),
    always(libc::SYS_shutdown),
    (libc::SYS_socket, When::Is(0, DOMAINS)),
    (libc::SYS_socketpair, When::Is(0, DOMAINS)),
    // Generators that run in the kernel.
    (libc::SYS_bpf, When::Is(0, BPF_COMMANDS)),
    // Facts about the machine and this process.
    always(libc::SYS_getegid),
    always(libc::SYS_geteuid),
    always(libc::SYS_getgid),
    always(libc::SYS_getrusage),
    always(libc::SYS_getuid),
    always(libc::SYS_prlimit64),
    always(libc::SYS_sysinfo),
    always(libc::SYS_uname),
];

/// The same under the names that only older architectures have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[(libc::c_long, When)] = &[
    always(libc::SYS_poll),
    always(libc::SYS_epoll_wait),
    always(libc::SYS_access),
    always(libc::SYS_getdents),
    always(libc::SYS_lstat),
    always(libc::SYS_mkdir),
    always(libc::SYS_open),
    always(libc::SYS_readlink),
    always(libc::SYS_rename),
    always(libc::SYS_rmdir),
    always(libc::SYS_select),
    always(libc::SYS_stat),
    always(libc::SYS_time),
    always(libc::SYS_unlink),
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[(libc::c_long, When)] = &[];

/// AUDIT_ARCH_* of linux/audit.h: numbers mean different calls on different architectures.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// Lets this thread, and those that it starts from now on, make no other calls than a scan needs; any other fails with
/// EPERM. Call it while there is one thread only to have it for the whole process.
pub fn limit_calls() -> io::Result<()> {
    promise_no_new_privileges()?;
    let mut program = program();
    let filter =
        libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr().cast() };
    // SAFETY: the filter points to `len` live instructions (SockFilter is a transparent sock_filter), which the kernel
    // copies and checks before the call returns.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn program() -> Vec<SockFilter> {
    let errno = |error: i32| libc::SECCOMP_RET_ERRNO | error as u32 & libc::SECCOMP_RET_DATA;
    let mut program = vec![
        load(ARCHITECTURE_AT),
        jump_if_equal(ARCHITECTURE, 1, 0),
        finish(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER_AT),
    ];
    for &(call, when) in ALLOWED.iter().chain(ALLOWED_HERE) {
        let mut rule = Vec::new();
        match when {
            When::Always => rule.push(finish(libc::SECCOMP_RET_ALLOW)),
            When::NotKnown => rule.push(finish(errno(libc::ENOSYS))),
            When::Is(argument, values) => {
                rule.push(load_argument(argument));
                for &value in values {
                    rule.push(jump_if_equal(value, 0, 1));
                    rule.push(finish(libc::SECCOMP_RET_ALLOW));
                }
                rule.push(finish(errno(libc::EPERM)));
            }
            When::IsNot(argument, values) => {
                rule.push(load_argument(argument));
                for &value in values {
                    rule.push(jump_if_equal(value, 0, 1));
                    rule.push(finish(errno(libc::EPERM)));
                }
                rule.push(finish(libc::SECCOMP_RET_ALLOW));
            }
            When::Has(argument, bits) => {
                rule.push(load_argument(argument));
                rule.push(SockFilter::new((libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, 0, 0, bits));
                rule.push(jump_if_equal(bits, 0, 1));
                rule.push(finish(libc::SECCOMP_RET_ALLOW));
                rule.push(finish(errno(libc::EPERM)));
            }
        }
        // A rule that is about another call is stepped over; one that fits never goes on.
        program.push(jump_if_equal(call as u32, 0, rule.len() as u8));
        program.append(&mut rule);
    }
    program.push(finish(errno(libc::EPERM)));
    program
}

fn load(offset: u32) -> SockFilter {
    SockFilter::new((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, offset)
}

/// The low half: both architectures are little-endian.
fn load_argument(argument: u8) -> SockFilter {
    load(ARGUMENTS_AT + 8 * u32::from(argument))
}

fn jump_if_equal(value: u32, yes: u8, no: u8) -> SockFilter {
    SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, yes, no, value)
}

fn finish(verdict: u32) -> SockFilter {
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, verdict)
}
