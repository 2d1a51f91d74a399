//! From registers and labels to instructions (RFC 9669).
//!
//! The assembler knows the form of instructions, not their sense: that registers hold what they should, that
//! loops end and memory is in bounds is for the kernel's verifier to say. What can be wrong about the form is
//! reported by [`Assembler::assemble`], all other calls cannot fail.

use std::os::fd::RawFd;

/// A register. R0 is the result of helpers and of the program, R1-R5 are arguments (and lost in a call), R6-R9
/// survive calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "they are their names")]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    /// End of the stack frame, which reaches 512 bytes down; read-only.
    Frame,
}

/// The second operand of a computation or comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A constant, sign-extended to 64 bits.
    Immediate(i32),
    /// A register.
    Register(Register),
}

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Self::Register(register)
    }
}

impl From<i32> for Operand {
    fn from(constant: i32) -> Self {
        Self::Immediate(constant)
    }
}

/// A computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "they are their names")]
pub enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    /// Unsigned; by zero it gives zero.
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    /// Unsigned; by zero it leaves the first operand.
    Modulo = 0x90,
    Xor = 0xa0,
    Move = 0xb0,
}

/// A condition of a jump; unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Compare {
    /// Equal.
    Equal = 0x10,
    /// Greater.
    Greater = 0x20,
    /// Greater or equal.
    AtLeast = 0x30,
    /// Any of these bits is set.
    AnySet = 0x40,
    /// Not equal.
    NotEqual = 0x50,
    /// Less.
    Less = 0xa0,
    /// Less or equal.
    AtMost = 0xb0,
}

/// How much is loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// 1 byte.
    Byte = 0x10,
    /// 2 bytes.
    Half = 0x08,
    /// 4 bytes.
    Word = 0x00,
    /// 8 bytes.
    Double = 0x18,
}

/// How many bits are brought into network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[expect(missing_docs, reason = "they are their names")]
pub enum Bits {
    B16 = 16,
    B32 = 32,
    B64 = 64,
}

/// An atomic change of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Atomic {
    /// Adds.
    Add = 0x00,
    /// Adds, and leaves what was there before in the source register.
    FetchAdd = 0x01,
    /// Sets bits, and leaves what was there before in the source register.
    FetchOr = 0x41,
}

/// A function of the kernel, by its number in `enum bpf_func_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Helper {
    /// `(map, key) → value or 0`
    MapLookup = 1,
    /// `() → nanoseconds since the machine started`, the monotonic clock.
    Nanoseconds = 5,
    /// `() → number of the processor that this runs on`
    Processor = 8,
    /// `(map, key, flags) → action`
    RedirectMap = 51,
    /// `(context, bytes) → 0 or an error`: moves the beginning of what programs keep before the frame.
    AdjustMeta = 54,
    /// `(context, bytes) → 0 or an error`: moves the end of the frame.
    AdjustTail = 65,
    /// `(map, bytes, 0) → record or 0`
    RingReserve = 131,
    /// `(record, flags)`
    RingSubmit = 132,
    /// `(record, flags)`: gives it up.
    RingDiscard = 133,
    /// `(context, offset, buffer, bytes) → 0 or an error`
    LoadBytes = 189,
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A map, as an instruction names it. It must be open until the program is loaded; the program keeps it from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapReference(pub(super) RawFd);

/// What is wrong with the form of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// A jump goes to a label without a place.
    #[error("instruction {instruction} jumps to a label that was never placed")]
    Unplaced {
        /// Number of the jumping instruction.
        instruction: usize,
    },
    /// A label was placed twice.
    #[error("a label was placed twice, the second time at instruction {instruction}")]
    PlacedTwice {
        /// Where the second time.
        instruction: usize,
    },
    /// A jump goes further than 32,767 instructions.
    #[error("instruction {instruction} jumps too far")]
    TooFar {
        /// Number of the jumping instruction.
        instruction: usize,
    },
}

mod class {
    pub const LOAD: u8 = 0x00;
    pub const LOAD_FROM: u8 = 0x01;
    pub const STORE_CONSTANT: u8 = 0x02;
    pub const STORE: u8 = 0x03;
    pub const ALU_32: u8 = 0x04;
    pub const JUMP: u8 = 0x05;
    pub const ALU_64: u8 = 0x07;
}

/// Flag of the operation byte: the operand is a register.
const FROM_REGISTER: u8 = 0x08;
const MODE_IMMEDIATE: u8 = 0x00;
const MODE_MEMORY: u8 = 0x60;
const MODE_ATOMIC: u8 = 0xc0;
const TO_BIG_ENDIAN: u8 = 0xd8;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
/// Source registers of the wide load that stand for a map and for a map's value (BPF_PSEUDO_MAP_FD, …_MAP_VALUE).
const PSEUDO_MAP: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;

/// A program in the making.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    code: Vec<u64>,
    /// Where each label is.
    labels: Vec<Option<usize>>,
    /// Jumping instructions and their labels.
    jumps: Vec<(usize, Label)>,
    error: Option<AssembleError>,
}

impl Assembler {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new label, to be placed later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Puts a label before the next instruction.
    pub fn place(&mut self, label: Label) {
        let here = self.code.len();
        if let Some(place) = self.labels.get_mut(label.0)
            && place.replace(here).is_some()
        {
            self.error.get_or_insert(AssembleError::PlacedTwice { instruction: here });
        }
    }

    /// `destination = destination ∘ operand`, 64 bits.
    pub fn alu(&mut self, operation: Alu, destination: Register, operand: impl Into<Operand>) {
        self.operate(class::ALU_64, operation as u8, destination, operand.into(), 0);
    }

    /// The same in 32 bits; the upper half becomes 0.
    pub fn alu32(&mut self, operation: Alu, destination: Register, operand: impl Into<Operand>) {
        self.operate(class::ALU_32, operation as u8, destination, operand.into(), 0);
    }

    /// `destination = operand`
    pub fn copy(&mut self, destination: Register, operand: impl Into<Operand>) {
        self.alu(Alu::Move, destination, operand);
    }

    /// `destination = constant`, in as few instructions as it takes.
    pub fn constant(&mut self, destination: Register, constant: u64) {
        if let Ok(small) = u32::try_from(constant) {
            self.alu32(Alu::Move, destination, small as i32);
        } else {
            self.wide(destination, 0, constant as u32, (constant >> 32) as u32);
        }
    }

    /// `destination = map`
    pub fn map(&mut self, destination: Register, map: MapReference) {
        self.wide(destination, PSEUDO_MAP, map.0 as u32, 0);
    }

    /// `destination = address of the only value of an array map, plus offset`
    pub fn map_value(&mut self, destination: Register, map: MapReference, offset_bytes: u32) {
        self.wide(destination, PSEUDO_MAP_VALUE, map.0 as u32, offset_bytes);
    }

    /// `destination = *(base + offset)`
    pub fn load(&mut self, size: Size, destination: Register, base: Register, offset: i16) {
        self.emit(class::LOAD_FROM | MODE_MEMORY | size as u8, destination, base as u8, offset, 0);
    }

    /// `*(base + offset) = source`
    pub fn store(&mut self, size: Size, base: Register, offset: i16, source: Register) {
        self.emit(class::STORE | MODE_MEMORY | size as u8, base, source as u8, offset, 0);
    }

    /// `*(base + offset) = constant`, sign-extended for [`Size::Double`].
    pub fn store_constant(&mut self, size: Size, base: Register, offset: i16, constant: i32) {
        self.emit(class::STORE_CONSTANT | MODE_MEMORY | size as u8, base, 0, offset, constant);
    }

    /// Changes the 8 bytes at `base + offset` atomically by `source`.
    pub fn atomic(&mut self, change: Atomic, base: Register, offset: i16, source: Register) {
        let operation = class::STORE | MODE_ATOMIC | Size::Double as u8;
        self.emit(operation, base, source as u8, offset, change as i32);
    }

    /// Between host and network byte order; bits above are cleared.
    pub fn to_big_endian(&mut self, register: Register, bits: Bits) {
        self.emit(class::ALU_32 | TO_BIG_ENDIAN & !0x07, register, 0, 0, bits as i32);
    }

    /// Goes on at `label`.
    pub fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(class::JUMP, Register::R0, 0, 0, 0);
    }

    /// Goes on at `label` if the comparison of 64 bits holds.
    pub fn jump_if(&mut self, compare: Compare, left: Register, right: impl Into<Operand>, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.operate(class::JUMP, compare as u8, left, right.into(), 0);
    }

    /// Calls a function of the kernel.
    pub fn call(&mut self, helper: Helper) {
        self.emit(class::JUMP | CALL, Register::R0, 0, 0, helper as i32);
    }

    /// Ends the program; its result is in R0.
    pub fn exit(&mut self) {
        self.emit(class::JUMP | EXIT, Register::R0, 0, 0, 0);
    }

    /// Instructions so far; wide ones count twice.
    pub fn len(&self) -> usize {
        self.code.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.code.is_empty()
    }

    /// The program with its jumps resolved.
    pub fn assemble(mut self) -> Result<Vec<u64>, AssembleError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        for (instruction, label) in self.jumps {
            let target = self.labels.get(label.0).copied().flatten();
            let target = target.ok_or(AssembleError::Unplaced { instruction })?;
            // Offsets count from the next instruction.
            let distance = i16::try_from(target as i64 - instruction as i64 - 1)
                .map_err(|_| AssembleError::TooFar { instruction })?;
            if let Some(slot) = self.code.get_mut(instruction) {
                *slot |= u64::from(distance as u16) << 16;
            }
        }
        Ok(self.code)
    }

    fn operate(&mut self, class: u8, operation: u8, left: Register, right: Operand, offset: i16) {
        match right {
            Operand::Immediate(constant) => self.emit(class | operation, left, 0, offset, constant),
            Operand::Register(register) => {
                self.emit(class | operation | FROM_REGISTER, left, register as u8, offset, 0);
            }
        }
    }

    /// A load of 64 bits, which takes two slots.
    fn wide(&mut self, destination: Register, source: u8, low: u32, high: u32) {
        let operation = class::LOAD | MODE_IMMEDIATE | Size::Double as u8;
        self.emit(operation, destination, source, 0, low as i32);
        self.code.push(u64::from(high) << 32);
    }

    fn emit(&mut self, operation: u8, destination: Register, source: u8, offset: i16, constant: i32) {
        self.code.push(
            u64::from(operation)
                | (destination as u64) << 8
                | u64::from(source) << 12
                | u64::from(offset as u16) << 16
                | u64::from(constant as u32) << 32,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Register::{Frame, R0, R1, R2, R3, R6, R9};

    fn bytes(program: impl FnOnce(&mut Assembler)) -> Vec<String> {
        let mut assembler = Assembler::new();
        program(&mut assembler);
        let code = assembler.assemble().expect("well formed");
        code.iter().map(|slot| slot.to_le_bytes().map(|byte| format!("{byte:02x}")).join(" ")).collect()
    }

    /// Expected bytes are those of llvm-mc 14 for the text in the comment.
    #[test]
    fn instructions_are_encoded_as_another_assembler_does() {
        assert_eq!(bytes(|a| a.copy(R1, 5)), ["b7 01 00 00 05 00 00 00"]); // r1 = 5
        assert_eq!(bytes(|a| a.copy(R6, R1)), ["bf 16 00 00 00 00 00 00"]); // r6 = r1
        assert_eq!(bytes(|a| a.alu(Alu::Add, R2, -8)), ["07 02 00 00 f8 ff ff ff"]); // r2 += -8
        assert_eq!(bytes(|a| a.alu32(Alu::Xor, R3, R2)), ["ac 23 00 00 00 00 00 00"]); // w3 ^= w2
        assert_eq!(bytes(|a| a.alu(Alu::ShiftRight, R9, 33)), ["77 09 00 00 21 00 00 00"]); // r9 >>= 33
        assert_eq!(bytes(|a| a.alu(Alu::Mul, R1, R2)), ["2f 21 00 00 00 00 00 00"]); // r1 *= r2
        assert_eq!(bytes(|a| a.load(Size::Word, R2, R1, 4)), ["61 12 04 00 00 00 00 00"]); // r2 = *(u32 *)(r1 + 4)
        assert_eq!(bytes(|a| a.load(Size::Byte, R2, R1, 23)), ["71 12 17 00 00 00 00 00"]); // r2 = *(u8 *)(r1 + 23)
        assert_eq!(bytes(|a| a.store(Size::Half, R9, 36, R2)), ["6b 29 24 00 00 00 00 00"]); // *(u16 *)(r9 + 36) = r2
        assert_eq!(bytes(|a| a.store(Size::Double, Frame, -8, R2)), ["7b 2a f8 ff 00 00 00 00"]); // *(u64 *)(r10 - 8) = r2
        assert_eq!(bytes(|a| a.store_constant(Size::Word, R9, 0, 0x0403_0201)), ["62 09 00 00 01 02 03 04"]);
        assert_eq!(bytes(|a| a.atomic(Atomic::Add, R1, 16, R2)), ["db 21 10 00 00 00 00 00"]); // lock *(u64 *)(r1 + 16) += r2
        assert_eq!(bytes(|a| a.atomic(Atomic::FetchAdd, R1, 0, R2)), ["db 21 00 00 01 00 00 00"]);
        assert_eq!(bytes(|a| a.atomic(Atomic::FetchOr, R0, 0, R1)), ["db 10 00 00 41 00 00 00"]); // r1 = atomic_fetch_or((u64 *)(r0 + 0), r1)
        assert_eq!(bytes(|a| a.to_big_endian(R2, Bits::B16)), ["dc 02 00 00 10 00 00 00"]); // r2 = be16 r2
        assert_eq!(bytes(|a| a.to_big_endian(R2, Bits::B64)), ["dc 02 00 00 40 00 00 00"]); // r2 = be64 r2
        assert_eq!(bytes(|a| a.call(Helper::Nanoseconds)), ["85 00 00 00 05 00 00 00"]); // call 5
        assert_eq!(bytes(Assembler::exit), ["95 00 00 00 00 00 00 00"]); // exit
    }

    #[test]
    fn constants_take_no_more_room_than_they_need() {
        assert_eq!(bytes(|a| a.constant(R1, 0xffff_ffff)), ["b4 01 00 00 ff ff ff ff"]); // w1 = -1
        assert_eq!(
            bytes(|a| a.constant(R1, 0x1122_3344_5566_7788)),
            ["18 01 00 00 88 77 66 55", "00 00 00 00 44 33 22 11"] // r1 = 1234605616436508552 ll
        );
    }

    #[test]
    fn maps_are_named_by_descriptor() {
        let map = MapReference(7);
        assert_eq!(bytes(|a| a.map(R1, map)), ["18 11 00 00 07 00 00 00", "00 00 00 00 00 00 00 00"]);
        assert_eq!(
            bytes(|a| a.map_value(R1, map, 16)),
            ["18 21 00 00 07 00 00 00", "00 00 00 00 10 00 00 00"]
        );
    }

    #[test]
    fn jumps_go_both_ways() {
        let program = bytes(|a| {
            let (back, end) = (a.label(), a.label());
            a.place(back);
            a.jump_if(Compare::AtLeast, R1, R2, end);
            a.jump_if(Compare::NotEqual, R1, 1, back);
            a.jump(end);
            a.constant(R0, 1 << 40);
            a.place(end);
            a.exit();
        });
        assert_eq!(program[0], "3d 21 04 00 00 00 00 00"); // if r1 >= r2 goto +4
        assert_eq!(program[1], "55 01 fe ff 01 00 00 00"); // if r1 != 1 goto -2
        assert_eq!(program[2], "05 00 02 00 00 00 00 00"); // goto +2
    }

    #[test]
    fn malformed_programs_are_refused() {
        let mut unplaced = Assembler::new();
        let label = unplaced.label();
        unplaced.exit();
        unplaced.jump(label);
        assert_eq!(unplaced.assemble(), Err(AssembleError::Unplaced { instruction: 1 }));

        let mut twice = Assembler::new();
        let label = twice.label();
        twice.place(label);
        twice.exit();
        twice.place(label);
        assert_eq!(twice.assemble(), Err(AssembleError::PlacedTwice { instruction: 1 }));

        let mut far = Assembler::new();
        let label = far.label();
        far.jump(label);
        (0..40_000).for_each(|_| far.exit());
        far.place(label);
        far.exit();
        assert_eq!(far.assemble(), Err(AssembleError::TooFar { instruction: 0 }));
    }
}
