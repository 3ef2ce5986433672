#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sealpoint_fuzz::differential(data));
