//! What is drawn of an atlas: its latents counted in bins, and the list of those that are looked at. Made once a change.

use std::collections::BTreeSet;

use prunelens_metrics::atlas::{Atlas, Fate};

use super::{
    AtlasView, Region,
    axis::{Axis, values},
};

/// Bins of the plot, across and up: more than the dots of a large terminal.
pub const BINS: (u16, u16) = (512, 256);
/// Fates that are told apart.
pub const FATES: usize = Fate::ALL.len();

/// Latents of one bin, by fate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    pub x: u16,
    pub y: u16,
    pub counts: [u32; FATES],
}

/// Bins, sums of their columns and rows, and the list.
#[derive(Clone, Debug)]
pub struct Drawn {
    pub x: Axis,
    pub y: Axis,
    /// Those with latents in them, by row and column.
    pub bins: Vec<Bin>,
    pub over_x: Vec<u32>,
    pub over_y: Vec<u32>,
    /// Latents that pass the filters, by fate, and those among them that lack one of the two figures.
    pub counts: [u32; FATES],
    pub without: u32,
    /// What the list is ordered by, for each of its latents; some have no such figure.
    pub list: Vec<(u32, f64)>,
}

impl Drawn {
    pub fn new(atlas: &Atlas, view: &AtlasView) -> Self {
        let (across, up, ranked) = (values(atlas, view.across), values(atlas, view.up), values(atlas, view.rank));
        let name = |at: usize| atlas.columns.get(at).map_or("", |(name, _)| name.as_str());
        let (x, y) = (Axis::of(name(view.across), &across), Axis::of(name(view.up), &up));
        let only: Option<BTreeSet<u32>> = view.only.as_ref().map(|only| only.latents.iter().copied().collect());
        let mut cells = vec![[0_u32; FATES]; usize::from(BINS.0) * usize::from(BINS.1)];
        let (mut counts, mut without, mut list) = ([0; FATES], 0, Vec::new());
        for (latent, fate) in (0_u32..).zip(&atlas.fates) {
            let wanted = view.fate.is_none_or(|wanted| wanted == *fate);
            if !wanted || only.as_ref().is_some_and(|only| !only.contains(&latent)) {
                continue;
            }
            let at = latent as usize;
            counts[*fate as usize] += 1;
            let place = x.share(across[at], latent).zip(y.share(up[at], latent.wrapping_add(1)));
            match place {
                Some((x, y)) => {
                    let (x, y) = bin(x, y);
                    cells[usize::from(y) * usize::from(BINS.0) + usize::from(x)][*fate as usize] += 1;
                }
                None => without += 1,
            }
            let inside = match view.region {
                Some(region) => place.is_some_and(|(x, y)| region.holds(bin(x, y))),
                None => true,
            };
            if inside {
                list.push((latent, ranked[at]));
            }
        }
        list.sort_by(|a, b| {
            let order = b.1.total_cmp(&a.1);
            let order = if view.ascending { order.reverse() } else { order };
            // What has no figure comes last, either way.
            (!a.1.is_finite()).cmp(&!b.1.is_finite()).then(order).then(a.0.cmp(&b.0))
        });
        let (mut over_x, mut over_y) = (vec![0; usize::from(BINS.0)], vec![0; usize::from(BINS.1)]);
        let mut bins = Vec::new();
        for (at, counts) in cells.into_iter().enumerate() {
            let n: u32 = counts.iter().sum();
            if n > 0 {
                let (x, y) = (at % usize::from(BINS.0), at / usize::from(BINS.0));
                over_x[x] += n;
                over_y[y] += n;
                bins.push(Bin { x: x as u16, y: y as u16, counts });
            }
        }
        Self { x, y, bins, over_x, over_y, counts, without, list }
    }

    /// Where a latent is in the list.
    pub fn position(&self, latent: u32) -> Option<usize> {
        self.list.iter().position(|(listed, _)| *listed == latent)
    }
}

/// The bin of a place.
pub fn bin(x: f64, y: f64) -> (u16, u16) {
    let at = |share: f64, n: u16| ((share * f64::from(n)) as u16).min(n - 1);
    (at(x, BINS.0), at(y, BINS.1))
}

impl Region {
    pub fn holds(&self, (x, y): (u16, u16)) -> bool {
        (self.from.0..=self.to.0).contains(&x) && (self.from.1..=self.to.1).contains(&y)
    }
}
