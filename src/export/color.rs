//! Colours of pictures: what a terminal leaves to its own settings has to have values there.

use ratatui::style::Color;

/// Foreground and background of an exported picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub text: [u8; 3],
    pub background: [u8; 3],
}

/// The values of xterm's colour cube along one axis.
pub const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The usual RGB value of a colour, for pictures of the screen and for readable text on it.
pub fn rgb(color: Color) -> Option<[u8; 3]> {
    const ANSI: [[u8; 3]; 16] = [
        [0, 0, 0],
        [205, 49, 49],
        [13, 188, 121],
        [229, 229, 16],
        [36, 114, 200],
        [188, 63, 188],
        [17, 168, 205],
        [204, 204, 204],
        [118, 118, 118],
        [241, 76, 76],
        [35, 209, 139],
        [245, 245, 67],
        [59, 142, 234],
        [214, 112, 214],
        [41, 184, 219],
        [242, 242, 242],
    ];
    let index = match color {
        Color::Reset => return None,
        Color::Rgb(r, g, b) => return Some([r, g, b]),
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 8,
        Color::LightRed => 9,
        Color::LightGreen => 10,
        Color::LightYellow => 11,
        Color::LightBlue => 12,
        Color::LightMagenta => 13,
        Color::LightCyan => 14,
        Color::White => 15,
        Color::Indexed(i) => usize::from(i),
    };
    Some(match index {
        0..16 => ANSI[index],
        16..232 => [CUBE[(index - 16) / 36], CUBE[(index - 16) / 6 % 6], CUBE[(index - 16) % 6]],
        _ => [(8 + 10 * (index - 232)) as u8; 3],
    })
}
