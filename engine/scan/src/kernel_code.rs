//! Permutation, cookie and checksum as instructions for programs in the kernel: the same numbers as in `permutation.rs` and `cookie.rs`,
//! which the tests hold against each other.

use crate::{
    Permutation,
    cookie::CookieKey,
    sys::bpf::{Alu, Assembler, Compare, Helper, Label, MapReference, Register, Size},
};
use Register::{Frame, R0, R1, R2, R3, R4, R5};

/// The place in the stack frame where [`look_up`] leaves the number of the entry.
pub(crate) const KEY: i16 = -4;

/// `R0 = address of the entry`, or on to `missing`. Loses R1-R5.
pub(crate) fn look_up(a: &mut Assembler, table: MapReference, entry: Register, missing: Label) {
    a.store(Size::Word, Frame, KEY, entry);
    a.map(R1, table);
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

/// `R1 = cookie`, 32 bits, of these words. Uses R0-R5.
pub(crate) fn cookie(a: &mut Assembler, key: &CookieKey, words: &[Word<'_>]) {
    for (register, word) in [R1, R2, R3, R4].into_iter().zip(key.initial_state()) {
        a.constant(register, word);
    }
    for word in words {
        word(a);
        compress(a);
    }
    a.constant(R0, CookieKey::last_word(words.len()));
    compress(a);
    a.alu(Alu::Xor, R3, 0xff);
    (0..3).for_each(|_| sip_round(a));
    a.alu(Alu::Xor, R1, R2);
    a.alu(Alu::Xor, R3, R4);
    a.alu(Alu::Xor, R1, R3);
    a.alu32(Alu::Move, R1, R1);
}

/// Takes the word in R0 in.
fn compress(a: &mut Assembler) {
    a.alu(Alu::Xor, R4, R0);
    sip_round(a);
    a.alu(Alu::Xor, R1, R0);
}

fn sip_round(a: &mut Assembler) {
    let [v0, v1, v2, v3] = [R1, R2, R3, R4];
    a.alu(Alu::Add, v0, v1);
    rotate(a, v1, 13);
    a.alu(Alu::Xor, v1, v0);
    rotate(a, v0, 32);
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

/// `sum = internet checksum of the sum`, which must be below 2³⁶. `scratch` is lost.
pub(crate) fn finish_checksum(a: &mut Assembler, sum: Register, scratch: Register) {
    // 36 bits fold to 21, to 17, to 16.
    for _ in 0..3 {
        a.copy(scratch, sum);
        a.alu(Alu::ShiftRight, scratch, 16);
        a.alu(Alu::And, sum, 0xffff);
        a.alu(Alu::Add, sum, scratch);
    }
    a.alu(Alu::Xor, sum, 0xffff);
}
