//! Random numbers that a seed determines: splitmix64.

#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [from, to).
    pub(crate) fn range(&mut self, from: i64, to: i64) -> i64 {
        if to <= from {
            return from;
        }
        from + (self.next() % (to - from) as u64) as i64
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.range(0, bound as i64) as usize
    }

    /// With this probability in hundredths.
    pub(crate) fn chance(&mut self, hundredths: i64) -> bool {
        self.range(0, 100) < hundredths
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
