//! Who goes first where processors are short.

/// How much further back the calling thread goes, by the scale of nice(2): to a third of what others get.
const STEP: libc::c_int = 5;

/// Lets all others, threads of this program too, go before the calling thread wherever they want the same processor.
/// For threads that send without a pause: what they ask for is lost if those who take answers in come too late. It takes
/// no rights; where the kernel refuses, nothing changes.
pub(crate) fn give_way() {
    // SAFETY: changes the calling thread's priority and nothing else.
    unsafe { libc::nice(STEP) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calling thread's own value, as proc(5) has it.
    fn nice() -> i64 {
        let text = std::fs::read_to_string("/proc/thread-self/stat").expect("procfs");
        let (_, rest) = text.rsplit_once(')').expect("the name ends");
        rest.split_whitespace().nth(16).and_then(|word| word.parse().ok()).expect("a number")
    }

    #[test]
    fn a_thread_gives_way_for_itself_alone() {
        let before = nice();
        let inside = std::thread::spawn(|| {
            give_way();
            nice()
        });
        assert_eq!(inside.join().expect("no panic"), (before + 5).min(19));
        assert_eq!(nice(), before);
    }
}
