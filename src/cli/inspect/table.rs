//! A comparison for people to read on a plain terminal.

use std::fmt::Write;

use prunelens_core::{
    compare::{Comparison, View},
    sae::{Knob, Setting},
    session::Session,
    text::safe,
};

use crate::export::comparison::strongest;

/// Latents listed a token.
const LISTED: usize = 5;

/// One figure of a variant, if it is known.
type Figure = fn(&View) -> Option<f64>;

pub fn table(session: &Session, comparison: &Comparison) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_table(&mut out, session, comparison);
    out
}

/// A token's bytes as a string is quoted; those that are not UTF-8 as `\xNN`, as on the screens.
fn quoted(piece: &[u8]) -> String {
    let mut out = String::from('"');
    for chunk in piece.utf8_chunks() {
        out.push_str(&safe(&chunk.valid().replace('\\', "\\\\").replace('"', "\\\"")));
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out + "\""
}

/// "ratio 0.25 by wanda", "rtn 4 bits".
fn turned(setting: Setting) -> String {
    match setting.knob {
        Knob::Ratio(criterion) => format!("ratio {} by {criterion}", setting.at),
        _ => setting.words(),
    }
}

/// "0.25", "4 bits".
fn left(setting: Setting) -> String {
    match setting.knob {
        Knob::Ratio(_) => setting.at.to_string(),
        _ => setting.value(),
    }
}

fn write_table(out: &mut String, session: &Session, comparison: &Comparison) -> std::fmt::Result {
    writeln!(
        out,
        "{} · {} · {} · {} · {}\n",
        session.models.original.name,
        session.models.compression,
        comparison.hook,
        session.sae.label(),
        turned(comparison.setting)
    )?;
    write!(out, "{:<20}", "")?;
    for view in &comparison.views {
        write!(out, "{:>11}", view.variant)?;
    }
    writeln!(out)?;
    let rows: [(&str, Figure); 7] = [
        ("l0", |v| v.reconstruction.map(|f| f.l0)),
        ("mse", |v| v.reconstruction.map(|f| f.mse)),
        ("explained_variance", |v| v.reconstruction.map(|f| f.explained_variance)),
        ("cossim", |v| v.reconstruction.map(|f| f.cossim)),
        ("ce_loss_without_sae", |v| v.splice.map(|f| f.ce_loss_without_sae)),
        ("ce_loss_with_sae", |v| v.splice.map(|f| f.ce_loss_with_sae)),
        ("kl_div_with_sae", |v| v.splice.map(|f| f.kl_div_with_sae)),
    ];
    for (name, get) in rows {
        write!(out, "{name:<20}")?;
        for view in &comparison.views {
            match get(view).filter(|v| v.is_finite()) {
                Some(value) => write!(out, "{value:>11.4}")?,
                None => write!(out, "{:>11}", "-")?,
            }
        }
        writeln!(out)?;
    }
    if let Some(paths) = &comparison.paths {
        write!(out, "\n{:<19}", format!("alive at {}", paths.knob.name()))?;
        let every = if paths.grid.len() > 10 { 2 } else { 1 };
        for (at, share) in paths.grid.iter().zip(&paths.survival).step_by(every) {
            write!(out, " {at}:{:.0}%", share * 100.0)?;
        }
        writeln!(out)?;
    }
    if let Some(fates) = comparison.fates() {
        writeln!(
            out,
            "pairs of token and latent: {} active on the original, {} on the pruned model ({} lost, {} new), {} of them left \
             by the SAE at {}",
            fates.original,
            fates.transfer,
            fates.lost_to_model,
            fates.new_on_model,
            fates.transfer - fates.lost_to_sae,
            left(comparison.setting)
        )?;
    }
    writeln!(out, "\nstrongest latents of each token, by variant")?;
    for (at, token) in comparison.tokens.iter().enumerate() {
        writeln!(out, "{at:>4} {}", quoted(&token.piece))?;
        for view in &comparison.views {
            let list = strongest(view, at, LISTED);
            let list: Vec<String> = list.iter().map(|(latent, value)| format!("#{latent} {value:.2}")).collect();
            writeln!(out, "     {:<9} {}", view.variant, list.join("  "))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_quoted_byte_for_byte() {
        assert_eq!(quoted(b" a\"b\n"), r#"" a\"b\n""#);
        assert_eq!(quoted("é".as_bytes()), "\"é\"");
        assert_eq!(quoted(&[0xc3]), r#""\xc3""#);
        assert_eq!(quoted(&[b'a', 0xe2, 0x82]), r#""a\xe2\x82""#);
    }
}
