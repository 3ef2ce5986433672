//! Looks for bytes in this process's writable memory. Needles are masked, so that the search does not find itself.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

const MASK: u8 = 0xA5;
const STEP: usize = 1 << 20;
/// Longer than any needle: what one step re-reads of the one before.
const OVERLAP: usize = 128;

/// Bytes to look for, XORed with a mask.
#[derive(Clone)]
pub struct Masked(Vec<u8>);

impl Masked {
    /// From bytes that are secret: for the process that does not search.
    pub fn hide(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| byte ^ MASK).collect())
    }

    /// From bytes that are masked already.
    pub fn already(masked: Vec<u8>) -> Self {
        Self(masked)
    }

    pub fn masked(&self) -> &[u8] {
        &self.0
    }

    /// The bytes themselves, written straight to where they go.
    pub fn reveal(&self, out: &mut [u8]) {
        out.iter_mut().zip(&self.0).for_each(|(to, from)| *to = from ^ MASK);
    }

    fn starts(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.0.len() && self.0.iter().zip(bytes).all(|(masked, byte)| masked ^ MASK == *byte)
    }
}

/// Reads the process's own memory.
pub struct Scanner {
    memory: File,
    buffer: Vec<u8>,
}

impl Scanner {
    pub fn new() -> Self {
        Self { memory: File::open("/proc/self/mem").expect("own memory can be read"), buffer: vec![0; STEP + OVERLAP] }
    }

    /// In how many places of each kind of writable region each needle lies: `[stack] 1, [heap] 2`.
    pub fn find(&mut self, needles: &[(&str, Masked)]) -> Vec<(String, Vec<String>)> {
        self.buffer.fill(0);
        let own = self.buffer.as_ptr() as usize;
        let own = own..own + self.buffer.len();
        let maps = fs::read_to_string("/proc/self/maps").expect("own maps can be read");
        let mut found: Vec<(String, Vec<String>)> = needles.iter().map(|(name, _)| ((*name).to_owned(), Vec::new())).collect();
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next().unwrap(), words.next().unwrap());
            if !rights.starts_with("rw") {
                continue;
            }
            let name = words.nth(3).unwrap_or("anonymous").to_owned();
            let (start, end) = range.split_once('-').unwrap();
            let address = |hex| usize::from_str_radix(hex, 16).unwrap();
            let (start, end) = (address(start), address(end));
            for at in (start..end).step_by(STEP) {
                let len = (end - at).min(STEP + OVERLAP);
                let Ok(read) = self.memory.read_at(&mut self.buffer[..len], at as u64) else { continue };
                for (index, window) in self.buffer[..read].iter().enumerate().take(STEP) {
                    if own.contains(&(at + index)) {
                        continue;
                    }
                    for ((_, needle), (_, places)) in needles.iter().zip(&mut found) {
                        if needle.0.first().is_some_and(|first| first ^ MASK == *window) && needle.starts(&self.buffer[index..read]) {
                            places.push(format!("{name}+{:#x}", at + index - start));
                        }
                    }
                }
            }
        }
        self.buffer.fill(0);
        found
    }
}
