#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| prunelens_fuzz::table(data));
