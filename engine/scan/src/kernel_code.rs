//! Permutation, cookie and checksum as instructions for programs in the kernel: the same numbers as in `permutation.rs` and `cookie.rs`,
//! which the tests hold against each other.

use crate::{
    Permutation,
    cookie::CookieKey,
    sys::bpf::{Alu, Assembler, Compare, Helper, Label, Register, Size, Table},
};
use Register::{Frame, R0, R1, R2, R3, R4, R5};

/// The place in the stack frame where [`look_up`] may leave the number of the entry.
const KEY: i16 = -4;

/// `R0 = address of the entry`, or on to `missing`. Loses R1-R5.
pub(crate) fn look_up(a: &mut Assembler, table: Table, entry: Register, missing: Label) {
    if table.is_one_value() {
        a.constant(R0, u64::from(table.entries()));
        a.jump_if(Compare::AtLeast, entry, R0, missing);
        a.copy(R1, entry);
        match table.entry_bytes() {
            bytes if bytes.is_power_of_two() => a.alu(Alu::ShiftLeft, R1, bytes.trailing_zeros() as i32),
            bytes => a.alu(Alu::Mul, R1, bytes as i32),
        }
        a.map_value(R0, table.map(), 0);
        a.alu(Alu::Add, R0, R1);
        return;
    }
    a.store(Size::Word, Frame, KEY, entry);
    a.map(R1, table.map());
    a.copy(R2, Frame);
    a.alu(Alu::Add, R2, i32::from(KEY));
    a.call(Helper::MapLookup);
    a.jump_if(Compare::Equal, R0, 0, missing);
}

/// `R1 = bit number of R1`, modulo 64.
pub(crate) fn test(a: &mut Assembler, number: Register) {
    a.alu(Alu::And, number, 63);
    a.alu(Alu::ShiftRight, R1, number);
    a.alu(Alu::And, R1, 1);
}

/// `number = network(number)`: one pass through the permutation's network. Uses R1-R4.
pub(crate) fn permute(a: &mut Assembler, order: &Permutation, number: Register) {
    pass(a, order, number, 0..order.network_parts().rounds.len());
}

/// The same backwards.
pub(crate) fn permute_back(a: &mut Assembler, order: &Permutation, number: Register) {
    pass(a, order, number, (0..order.network_parts().rounds.len()).rev());
}

/// These rounds of the network, in this order.
fn pass(a: &mut Assembler, order: &Permutation, number: Register, rounds: impl Iterator<Item = usize>) {
    let network = order.network_parts();
    let (low, high) = (R1, R2);
    a.copy(low, number);
    a.constant(R3, (1 << network.low_bits) - 1);
    a.alu(Alu::And, low, R3);
    a.copy(high, number);
    a.alu(Alu::ShiftRight, high, network.low_bits as i32);
    for (turn, [key, factor]) in rounds.filter_map(|turn| Some((turn, *network.rounds.get(turn)?))) {
        let (from, to, bits) =
            if turn % 2 == 0 { (low, high, network.high_bits) } else { (high, low, network.low_bits) };
        a.constant(R3, key);
        a.alu(Alu::Xor, R3, from);
        a.constant(R4, factor);
        a.alu(Alu::Mul, R3, R4);
        a.alu(Alu::ShiftRight, R3, (u64::BITS - bits) as i32);
        a.alu(Alu::Xor, to, R3);
    }
    a.copy(number, high);
    a.alu(Alu::ShiftLeft, number, network.low_bits as i32);
    a.alu(Alu::Or, number, low);
}

/// Puts a word in R0; may use R5.
pub(crate) type Word<'a> = &'a dyn Fn(&mut Assembler);

/// Where the state of the hash is.
pub(crate) const STATE: [Register; 4] = [R1, R2, R3, R4];

/// `R1-R4 = state` that the hash begins with, the first half of the next round done.
pub(crate) fn begin_cookie(a: &mut Assembler, key: &CookieKey) {
    set_state(a, key.initial_state());
    begin_round(a);
}

/// `R1-R4 = state`
pub(crate) fn set_state(a: &mut Assembler, state: [u64; 4]) {
    for (register, word) in STATE.into_iter().zip(state) {
        a.constant(register, word);
    }
}

/// Takes words into the state in R1-R4, in which the first half of the next round is done. Uses R0 and R5.
pub(crate) fn take_in(a: &mut Assembler, words: &[Word<'_>]) {
    for word in words {
        word(a);
        take_in_one(a);
    }
}

/// Takes the word in R0 in.
fn take_in_one(a: &mut Assembler) {
    let [v0, _, _, v3] = STATE;
    a.alu(Alu::Xor, v3, R0);
    end_round(a);
    a.alu(Alu::Xor, v0, R0);
    begin_round(a);
}

/// `R1 = cookie`, 32 bits, of the state in R1-R4, which has taken so many words in. Uses R0-R5.
pub(crate) fn end_cookie(a: &mut Assembler, words: usize) {
    let [v0, v1, v2, v3] = STATE;
    a.constant(R0, CookieKey::last_word(words));
    a.alu(Alu::Xor, v3, R0);
    end_round(a);
    a.alu(Alu::Xor, v0, R0);
    a.alu(Alu::Xor, v2, 0xff);
    for _ in 0..2 {
        begin_round(a);
        end_round(a);
    }
    // The last round but for what cancels out when all four words are added up.
    a.alu(Alu::Add, v0, v1);
    rotate(a, v1, 13);
    a.alu(Alu::Xor, v1, v0);
    a.alu(Alu::Add, v2, v3);
    rotate(a, v3, 16);
    a.alu(Alu::Xor, v3, v2);
    rotate(a, v3, 21);
    a.alu(Alu::Add, v2, v1);
    rotate(a, v1, 17);
    a.alu(Alu::Xor, v1, v3);
    // The low half of `v2 ^ rotate(v2, 32)`.
    a.alu(Alu::Xor, v1, v2);
    a.alu(Alu::ShiftRight, v2, 32);
    a.alu(Alu::Xor, v1, v2);
    a.alu32(Alu::Move, R1, v1);
}

/// The half of a round that no word changes.
fn begin_round(a: &mut Assembler) {
    let [v0, v1, ..] = STATE;
    a.alu(Alu::Add, v0, v1);
    rotate(a, v1, 13);
    a.alu(Alu::Xor, v1, v0);
    rotate(a, v0, 32);
}

fn end_round(a: &mut Assembler) {
    let [v0, v1, v2, v3] = STATE;
    a.alu(Alu::Add, v2, v3);
    rotate(a, v3, 16);
    a.alu(Alu::Xor, v3, v2);
    a.alu(Alu::Add, v0, v3);
    rotate(a, v3, 21);
    a.alu(Alu::Xor, v3, v0);
    a.alu(Alu::Add, v2, v1);
    rotate(a, v1, 17);
    a.alu(Alu::Xor, v1, v2);
    rotate(a, v2, 32);
}

/// There is no instruction for it.
fn rotate(a: &mut Assembler, register: Register, left: i32) {
    a.copy(R5, register);
    a.alu(Alu::ShiftLeft, register, left);
    a.alu(Alu::ShiftRight, R5, 64 - left);
    a.alu(Alu::Or, register, R5);
}

/// `sum = internet checksum of the sum`, which must be below 2³⁶, in the lower 16 bits; those above mean nothing. `scratch`
/// is lost.
pub(crate) fn finish_checksum(a: &mut Assembler, sum: Register, scratch: Register) {
    // 36 bits fold to 21, to 17, to 16.
    for fold in 0..3 {
        a.copy(scratch, sum);
        a.alu(Alu::ShiftRight, scratch, 16);
        if fold < 2 {
            a.alu(Alu::And, sum, 0xffff);
        }
        a.alu(Alu::Add, sum, scratch);
    }
    a.alu(Alu::Xor, sum, 0xffff);
}

#[cfg(test)]
mod tests {
    use std::{io, sync::atomic::Ordering::Relaxed};

    use super::*;
    use crate::{
        sys::bpf::{Program, SharedArray},
        testing::may_use_bpf,
    };

    type New = fn(&str, u32, u32) -> io::Result<SharedArray>;

    /// What is in the first word of an entry, or -1.
    fn found(table: &SharedArray, entry: u64) -> i32 {
        let mut a = Assembler::new();
        let missing = a.label();
        a.constant(R3, entry);
        look_up(&mut a, table.table(), R3, missing);
        a.load(Size::Double, R0, R0, 0);
        a.exit();
        a.place(missing);
        a.copy(R0, -1);
        a.exit();
        let program = Program::load("pr_test", a).expect("the verifier agrees");
        program.run_once(&mut vec![0; 64]).expect("runs") as i32
    }

    #[test]
    fn entries_are_found_whether_the_kernel_makes_one_value_of_them_or_many() {
        if !may_use_bpf() {
            return;
        }
        for (new, is_one) in [(SharedArray::new as New, true), (SharedArray::of_values as New, false)] {
            for words_each in [1, 2, 3, 5] {
                let table = new("pr_test", 100, words_each).expect("map");
                assert_eq!(table.table().is_one_value(), is_one);
                for (place, word) in table.iter().enumerate() {
                    word.store(place as u64 / u64::from(words_each) + 7, Relaxed);
                }
                for entry in [0, 1, 63, 99] {
                    assert_eq!(found(&table, entry), entry as i32 + 7, "{words_each} words");
                }
                assert_eq!((found(&table, 100), found(&table, u64::from(u32::MAX))), (-1, -1));
            }
        }
    }
}
