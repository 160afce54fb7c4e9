//! Memory and driver as NVIDIA's management library tells them, which comes with the driver and needs no device opened.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use serde::Serialize;

use super::{libraries::driver_folders, library::Library};
use crate::text::bytes;

/// What the library says of this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Version of the driver.
    pub driver: String,
    /// In the order of the bus; CUDA may number them otherwise.
    pub cards: Vec<Card>,
}

/// A GPU and its memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    /// As the driver calls it.
    pub name: String,
    /// All of its memory.
    pub total_bytes: u64,
    /// What nobody has taken.
    pub free_bytes: u64,
    /// By every program.
    pub used_bytes: u64,
}

impl Card {
    /// "NVIDIA H200, 3.1 GiB of 139.8 GiB used".
    pub fn line(&self) -> String {
        format!("{}, {} of {} used", self.name, bytes(self.used_bytes), bytes(self.total_bytes))
    }
}

/// `nvmlMemory_t`.
#[repr(C)]
#[derive(Default)]
struct MemoryInfo {
    total: u64,
    free: u64,
    used: u64,
}

type Handle = *mut c_void;
type Simple = unsafe extern "C" fn() -> c_int;
type GetText = unsafe extern "C" fn(*mut c_char, c_uint) -> c_int;
type GetCount = unsafe extern "C" fn(*mut c_uint) -> c_int;
type GetHandle = unsafe extern "C" fn(c_uint, *mut Handle) -> c_int;
type GetName = unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> c_int;
type GetMemory = unsafe extern "C" fn(Handle, *mut MemoryInfo) -> c_int;

/// Long enough for every name and version (the library's own limits are 96 and 80).
const TEXT: usize = 128;

/// None where there is no driver, or it does not answer.
pub fn read() -> Option<Machine> {
    let known = || driver_folders().find_map(|folder| Library::open_file(&folder.join("libnvidia-ml.so.1")).ok());
    let library = Library::open(c"libnvidia-ml.so.1").ok().or_else(known)?;
    // SAFETY: the types are those of nvml.h.
    let (init, shutdown) =
        unsafe { (library.function::<Simple>(c"nvmlInit_v2")?, library.function::<Simple>(c"nvmlShutdown")?) };
    // SAFETY: the first call to the library.
    if unsafe { init() } != 0 {
        return None;
    }
    let machine = machine(&library);
    // SAFETY: the last call to it, after one that succeeded.
    unsafe { shutdown() };
    machine
}

fn machine(library: &Library) -> Option<Machine> {
    // SAFETY: the type is that of nvml.h.
    let version = unsafe { library.function::<GetText>(c"nvmlSystemGetDriverVersion")? };
    // SAFETY: likewise.
    let count = unsafe { library.function::<GetCount>(c"nvmlDeviceGetCount_v2")? };
    // SAFETY: the buffer is as long as it is said to be.
    let driver = text(|at, len| unsafe { version(at, len) })?;
    let mut cards = 0;
    // SAFETY: a place for one number.
    if unsafe { count(&raw mut cards) } != 0 {
        return None;
    }
    Some(Machine { driver, cards: (0..cards).filter_map(|index| card(library, index)).collect() })
}

/// None for a card that this process may not look at.
fn card(library: &Library, index: c_uint) -> Option<Card> {
    // SAFETY: the types are those of nvml.h.
    let (handle, name, memory) = unsafe {
        (
            library.function::<GetHandle>(c"nvmlDeviceGetHandleByIndex_v2")?,
            library.function::<GetName>(c"nvmlDeviceGetName")?,
            library.function::<GetMemory>(c"nvmlDeviceGetMemoryInfo")?,
        )
    };
    let mut device: Handle = std::ptr::null_mut();
    // SAFETY: a place for one handle.
    if unsafe { handle(index, &raw mut device) } != 0 {
        return None;
    }
    // SAFETY: the handle was just given, and the buffer is as long as it is said to be.
    let name = text(|at, len| unsafe { name(device, at, len) })?;
    let mut info = MemoryInfo::default();
    // SAFETY: the handle was just given, and the place is one of its type.
    if unsafe { memory(device, &raw mut info) } != 0 {
        return None;
    }
    Some(Card { name, total_bytes: info.total, free_bytes: info.free, used_bytes: info.used })
}

/// Text that a function writes into a buffer, made safe to show.
fn text(write: impl FnOnce(*mut c_char, c_uint) -> c_int) -> Option<String> {
    let mut buffer = [0_u8; TEXT];
    if write(buffer.as_mut_ptr().cast(), TEXT as c_uint) != 0 {
        return None;
    }
    let text = CStr::from_bytes_until_nul(&buffer).ok()?;
    Some(crate::text::safe(&text.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_says_what_it_uses() {
        let gib = 1_u64 << 30;
        let card =
            Card { name: "NVIDIA H200".into(), total_bytes: 140 * gib, free_bytes: 137 * gib, used_bytes: 3 * gib };
        assert_eq!(card.line(), "NVIDIA H200, 3.0 GiB of 140.0 GiB used");
    }

    #[test]
    fn text_ends_where_it_is_said_to() {
        let got = text(|at, len| {
            assert!(len > 4);
            // SAFETY: there is room for four bytes.
            unsafe { std::ptr::copy_nonoverlapping(c"580".as_ptr(), at, 4) };
            0
        });
        assert_eq!(got.as_deref(), Some("580"));
        assert_eq!(text(|_, _| 1), None);
    }
}
