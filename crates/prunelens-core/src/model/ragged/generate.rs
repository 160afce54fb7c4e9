//! The most likely continuation of each text.

use candle_core::Tensor;

use super::text::Text;
use crate::{error::Result, model::Model, progress::Tick};

impl Model {
    /// `count` tokens for each text, the likeliest every time, from the logits after what was read of it. A text ends
    /// early with `end`, which is part of its answer.
    pub fn continue_texts(
        &self,
        mut texts: Vec<Text>,
        logits: &Tensor,
        count: usize,
        end: Option<u32>,
        tick: Tick,
    ) -> Result<Vec<Vec<u32>>> {
        let mut answers = vec![Vec::new(); texts.len()];
        let mut open: Vec<usize> = (0..texts.len()).collect();
        let mut next = self.ops.likeliest(logits)?;
        for at in 0..count {
            open.iter().zip(&next).for_each(|(&text, &id)| answers[text].push(id));
            let going: Vec<bool> = next.iter().map(|id| Some(*id) != end).collect();
            let mut keep = going.iter();
            texts.retain(|_| *keep.next().unwrap_or(&false));
            open = open.iter().zip(&going).filter(|(_, going)| **going).map(|(text, _)| *text).collect();
            let new: Vec<[u32; 1]> =
                next.iter().zip(&going).filter(|(_, going)| **going).map(|(id, _)| [*id]).collect();
            if texts.is_empty() || at + 1 == count {
                break;
            }
            let new: Vec<&[u32]> = new.iter().map(<[u32; 1]>::as_slice).collect();
            let (read, last) = self.read(texts, &new, tick)?;
            texts = read;
            next = self.ops.likeliest(&self.last_logits(&last, &vec![1; texts.len()])?)?;
        }
        Ok(answers)
    }
}
