//! Several compressed copies of one model: one is looked at, and the others can take its place.

use super::SessionSpec;
use crate::prune::Compress;

impl SessionSpec {
    /// The same with another of its copies.
    pub fn at_copy(&self, compress: &Compress) -> Self {
        Self { compress: compress.clone(), ..self.clone() }
    }

    /// Whether it is another copy of the same session: of the same list, with the same SAEs.
    pub fn is_copy_of(&self, other: &Self) -> bool {
        self.compressions.len() > 1 && self.at_copy(&Compress::None) == other.at_copy(&Compress::None)
    }

    /// Without the SAEs that were trained on the first copy, where this is not the first.
    pub(super) fn of_its_copy(self) -> Self {
        if self.is_first_copy() { self } else { Self { trained_sae: None, ..self } }
    }

    /// Whether it is the copy on which the SAEs were trained that are named as trained, the only one mostly.
    fn is_first_copy(&self) -> bool {
        self.compressions.iter().skip(1).all(|copy| *copy != self.compress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_all_but_how_they_are_made_and_what_was_trained_on_them() {
        let compressions: Vec<Compress> = ["wanda:0.5", "rtn:int4:g32"].map(|spec| spec.parse().unwrap()).to_vec();
        let first = SessionSpec { compressions: compressions.clone(), ..SessionSpec::demo() };
        let second = first.at_copy(&compressions[1]);
        assert!(second.is_copy_of(&first) && first.is_copy_of(&second));
        assert!(!second.shares_models(&first) && second.shares_original(&first));
        assert!(!second.is_copy_of(&SessionSpec { compressions: compressions[1..].to_vec(), ..second.clone() }));
        assert!(!second.is_copy_of(&SessionSpec { ratio: 0.5, ..first.clone() }));
        assert_eq!(first.clone().of_its_copy(), first);
        assert_eq!(second.clone().of_its_copy().trained_sae, None);
        assert_eq!(second.at_copy(&compressions[0]), first, "there and back");
    }
}
