//! Which indices were used: a window behind the highest one (RFC 3711 §3.3.2).

#[cfg(test)]
mod tests;

const WORD: u64 = u64::BITS as u64;

/// Why an index can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It was used.
    #[error("the index was used before")]
    Used,
    /// It lies so far behind the highest that nobody knows.
    #[error("the index is older than the window")]
    TooOld,
}

/// Remembers each of at least the last `(WORDS - 1) * 64 + 1` indices up to the highest used one.
///
/// The bitmap is a ring of words addressed by the index itself, so moving the window on clears whole words and shifts
/// nothing. Owns no more than its `8 * WORDS + 16` bytes. Whoever takes `WORDS` below 2 has a window of one index.
#[derive(Clone, Debug)]
pub struct ReplayWindow<const WORDS: usize> {
    highest: Option<u64>,
    used: [u64; WORDS],
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        const { assert!(WORDS > 0) };
        Self { highest: None, used: [0; WORDS] }
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    /// The highest index used; `None` before the first.
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether `index` can be used.
    pub fn check(&self, index: u64) -> Result<(), ReplayError> {
        let Some(highest) = self.highest else { return Ok(()) };
        if index > highest {
            return Ok(());
        }
        // The ring holds the word of the highest index and the `WORDS - 1` before it.
        if highest / WORD - index / WORD >= WORDS as u64 {
            return Err(ReplayError::TooOld);
        }
        if self.used[Self::word(index)] & Self::bit(index) != 0 {
            return Err(ReplayError::Used);
        }
        Ok(())
    }

    /// Marks `index` as used, unless it can't be.
    pub fn insert(&mut self, index: u64) -> Result<(), ReplayError> {
        self.check(index)?;
        match self.highest {
            Some(highest) if index <= highest => {}
            Some(highest) => {
                let steps = (index / WORD - highest / WORD).min(WORDS as u64);
                for step in 1..=steps {
                    self.used[((highest / WORD + step) % WORDS as u64) as usize] = 0;
                }
                self.highest = Some(index);
            }
            None => self.highest = Some(index),
        }
        self.used[Self::word(index)] |= Self::bit(index);
        Ok(())
    }

    const fn word(index: u64) -> usize {
        (index / WORD % WORDS as u64) as usize
    }

    const fn bit(index: u64) -> u64 {
        1 << (index % WORD)
    }
}
