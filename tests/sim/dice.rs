//! Numbers that look random and follow from a seed. What is drawn for a name does not depend on what was drawn before it, so that taking one
//! trouble out of a script changes nothing else.

/// SplitMix64, by Vigna; public domain.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice of their own for something that has a name and perhaps a number.
    pub(crate) fn of(seed: u64, name: &str, number: u64) -> Self {
        let named = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut dice = Self(seed ^ named.rotate_left(17) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of so many numbers, from 0.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides.max(1)
    }

    /// One of the numbers from `from` to `to`, both included.
    pub(crate) fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.roll(to - from + 1)
    }

    /// Whether something happens that happens so many times in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    /// One of several things.
    pub(crate) fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.roll(things.len() as u64) as usize]
    }

    /// One of several things, each as often as its weight says.
    pub(crate) fn weighed<T: Copy>(&mut self, things: &[(u64, T)]) -> T {
        let mut left = self.roll(things.iter().map(|(weight, _)| weight).sum());
        for (weight, thing) in things {
            if left < *weight {
                return *thing;
            }
            left -= weight;
        }
        things[0].1
    }

    /// A time: now and then next to nothing, often seconds, sometimes minutes.
    pub(crate) fn pause(&mut self) -> u64 {
        match self.roll(10) {
            0 | 1 => self.roll(4),
            2 => self.roll(200),
            3..=6 => self.roll(12_000),
            7 | 8 => self.roll(60_000),
            _ => self.roll(240_000),
        }
    }
}
