//! A reader of pickles that runs nothing. It knows plain values and the few globals that PyTorch's tensors are made of,
//! refuses every other by name, and keeps objects in one list, so that neither depth nor repetition costs memory.

use std::collections::HashMap;

use super::Kind;

/// A value, its parts by their places in the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Object<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Tuple(Vec<u32>),
    List(Vec<u32>),
    Dict(Vec<(u32, u32)>),
    Global(Global),
    Storage(Storage<'a>),
    Tensor(Box<Tensor>),
}

/// What may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    OrderedDict,
    /// A class of storages, such as `FloatStorage`.
    Storage(Kind),
    RebuildTensor,
    RebuildParameter,
    Size,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Storage<'a> {
    pub kind: Kind,
    /// The archive's member below `data/`.
    pub key: &'a str,
}

/// A view of a storage; offset and strides in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub storage: u32,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// Instructions, as Python's `pickletools` names them.
mod op {
    pub const PROTO: u8 = 0x80;
    pub const FRAME: u8 = 0x95;
    pub const STOP: u8 = b'.';
    pub const MARK: u8 = b'(';
    pub const POP: u8 = b'0';
    pub const NONE: u8 = b'N';
    pub const NEWTRUE: u8 = 0x88;
    pub const NEWFALSE: u8 = 0x89;
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const BININT: u8 = b'J';
    pub const LONG1: u8 = 0x8a;
    pub const BINFLOAT: u8 = b'G';
    pub const BINUNICODE: u8 = b'X';
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const EMPTY_TUPLE: u8 = b')';
    pub const EMPTY_LIST: u8 = b']';
    pub const EMPTY_DICT: u8 = b'}';
    pub const TUPLE: u8 = b't';
    pub const LIST: u8 = b'l';
    pub const APPEND: u8 = b'a';
    pub const APPENDS: u8 = b'e';
    pub const DICT: u8 = b'd';
    pub const SETITEM: u8 = b's';
    pub const SETITEMS: u8 = b'u';
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const MEMOIZE: u8 = 0x94;
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
    pub const GLOBAL: u8 = b'c';
    pub const STACK_GLOBAL: u8 = 0x93;
    pub const BINPERSID: u8 = b'Q';
    pub const REDUCE: u8 = b'R';
    pub const NEWOBJ: u8 = 0x81;
    pub const BUILD: u8 = b'b';
    pub const TUPLE1: u8 = 0x85;
    pub const TUPLE3: u8 = 0x87;
}

/// What a pickle holds.
pub struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    root: u32,
}

impl<'a> Pickle<'a> {
    pub fn root(&self) -> &Object<'a> {
        self.get(self.root)
    }

    pub fn get(&self, at: u32) -> &Object<'a> {
        &self.objects[at as usize]
    }
}

fn global(module: &str, name: &str) -> Result<Global, String> {
    Ok(match (module, name) {
        ("torch", "DoubleStorage") => Global::Storage(Kind::F64),
        ("torch", "FloatStorage") => Global::Storage(Kind::F32),
        ("torch", "HalfStorage") => Global::Storage(Kind::F16),
        ("torch", "BFloat16Storage") => Global::Storage(Kind::BF16),
        ("torch", "LongStorage") => Global::Storage(Kind::I64),
        ("torch", "IntStorage") => Global::Storage(Kind::I32),
        ("torch", "ShortStorage") => Global::Storage(Kind::I16),
        ("torch", "CharStorage") => Global::Storage(Kind::I8),
        ("torch", "ByteStorage") => Global::Storage(Kind::U8),
        ("torch", "BoolStorage") => Global::Storage(Kind::Bool),
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch", "Size") => Global::Size,
        _ => {
            let name = crate::text::shorten(&format!("{module}.{name}"), 80);
            return Err(format!(
                "names {name}, which is not part of plain tensors; it is not run. Save the tensors alone (a state_dict)"
            ));
        }
    })
}

/// On the stack, between objects.
const MARK: u32 = u32::MAX;

struct Machine<'a> {
    bytes: &'a [u8],
    objects: Vec<Object<'a>>,
    stack: Vec<u32>,
    memo: HashMap<u32, u32>,
}

/// Read a pickle; the error completes "its pickle ...".
pub fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine { bytes, objects: Vec::new(), stack: Vec::new(), memo: HashMap::new() };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok(Pickle { objects: machine.objects, root })
}

impl<'a> Machine<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or("ends too early")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "ends too early".to_owned())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.bytes.iter().position(|b| *b == b'\n').ok_or("ends too early")?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|_| "holds a name that is not UTF-8".into())
    }

    fn text(&mut self, len: usize) -> Result<(), String> {
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| "holds a text that is not UTF-8")?;
        self.push(Object::Text(text));
        Ok(())
    }

    fn push(&mut self, object: Object<'a>) {
        self.stack.push(self.objects.len() as u32);
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<u32, String> {
        self.stack.pop().filter(|at| *at != MARK).ok_or_else(|| "is damaged: it takes from an empty stack".into())
    }

    fn top(&self) -> Result<u32, String> {
        let top = self.stack.last().copied().filter(|at| *at != MARK);
        top.ok_or_else(|| "is damaged: it takes from an empty stack".into())
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Result<Vec<u32>, String> {
        let mark = self.stack.iter().rposition(|at| *at == MARK).ok_or("is damaged: a mark is missing")?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn last(&mut self, n: usize) -> Result<Vec<u32>, String> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    /// One instruction; false after the last.
    fn step(&mut self) -> Result<bool, String> {
        let [op] = self.array()?;
        match op {
            // PROTO, FRAME: nothing to do.
            op::PROTO => drop(self.take(1)?),
            op::FRAME => drop(self.take(8)?),
            op::STOP => return Ok(false),
            op::MARK => self.stack.push(MARK),
            op::POP => drop(self.pop()?),
            op::NONE => self.push(Object::None),
            op::NEWTRUE => self.push(Object::Bool(true)),
            op::NEWFALSE => self.push(Object::Bool(false)),
            op::BININT1 => {
                let [v] = self.array()?;
                self.push(Object::Int(v.into()));
            }
            op::BININT2 => {
                let v = u16::from_le_bytes(self.array()?);
                self.push(Object::Int(v.into()));
            }
            op::BININT => {
                let v = i32::from_le_bytes(self.array()?);
                self.push(Object::Int(v.into()));
            }
            op::LONG1 => {
                let [n] = self.array()?;
                let bytes = self.take(n.into())?;
                if bytes.len() > 8 {
                    return Err("holds a number of more than 64 bits".into());
                }
                let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let mut value = [fill; 8];
                value[..bytes.len()].copy_from_slice(bytes);
                self.push(Object::Int(i64::from_le_bytes(value)));
            }
            op::BINFLOAT => {
                let v = f64::from_be_bytes(self.array()?);
                self.push(Object::Float(v));
            }
            op::BINUNICODE => {
                let n = u32::from_le_bytes(self.array()?);
                self.text(n as usize)?;
            }
            op::SHORT_BINUNICODE => {
                let [n] = self.array()?;
                self.text(n.into())?;
            }
            op::EMPTY_TUPLE => self.push(Object::Tuple(Vec::new())),
            op::EMPTY_LIST => self.push(Object::List(Vec::new())),
            op::EMPTY_DICT => self.push(Object::Dict(Vec::new())),
            op::TUPLE => {
                let items = self.marked()?;
                self.push(Object::Tuple(items));
            }
            op::TUPLE1..=op::TUPLE3 => {
                let items = self.last((op - op::TUPLE1 + 1).into())?;
                self.push(Object::Tuple(items));
            }
            op::LIST => {
                let items = self.marked()?;
                self.push(Object::List(items));
            }
            op::APPEND => {
                let items = self.last(1)?;
                self.extend(items)?;
            }
            op::APPENDS => {
                let items = self.marked()?;
                self.extend(items)?;
            }
            op::DICT => {
                let items = self.marked()?;
                self.push(Object::Dict(Vec::new()));
                self.set(items)?;
            }
            op::SETITEM => {
                let items = self.last(2)?;
                self.set(items)?;
            }
            op::SETITEMS => {
                let items = self.marked()?;
                self.set(items)?;
            }
            op::BINPUT => {
                let ([key], top) = (self.array()?, self.top()?);
                self.memo.insert(key.into(), top);
            }
            op::LONG_BINPUT => {
                let (key, top) = (u32::from_le_bytes(self.array()?), self.top()?);
                self.memo.insert(key, top);
            }
            op::MEMOIZE => {
                let (key, top) = (self.memo.len() as u32, self.top()?);
                self.memo.insert(key, top);
            }
            op::BINGET => {
                let [key] = self.array()?;
                self.recall(key.into())?;
            }
            op::LONG_BINGET => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(global(module, name)?));
            }
            op::STACK_GLOBAL => {
                let items = self.last(2)?;
                let (Object::Text(module), Object::Text(name)) = (self.get(items[0]), self.get(items[1])) else {
                    return Err("is damaged: a global without a name".into());
                };
                let global = global(module, name)?;
                self.push(Object::Global(global));
            }
            op::BINPERSID => self.storage()?,
            // NEWOBJ makes what REDUCE does of the classes allowed here.
            op::REDUCE | op::NEWOBJ => self.reduce()?,
            // BUILD: the state of an ordered dictionary (`_metadata`) is of no use here.
            op::BUILD => drop(self.pop()?),
            other => return Err(format!("uses instruction {other:#04x}, which plain tensors do not need")),
        }
        Ok(true)
    }

    fn get(&self, at: u32) -> &Object<'a> {
        &self.objects[at as usize]
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let at = self.memo.get(&key).ok_or("is damaged: it recalls what it never noted")?;
        self.stack.push(*at);
        Ok(())
    }

    fn extend(&mut self, items: Vec<u32>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.objects[top as usize] {
            Object::List(list) => list.extend(items),
            _ => return Err("is damaged: it appends to what is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<u32>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.objects[top as usize] {
            Object::Dict(dict) => dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            _ => return Err("is damaged: it sets items of what is no dictionary".into()),
        }
        Ok(())
    }

    /// `('storage', class, key, device, size)`.
    fn storage(&mut self) -> Result<(), String> {
        let at = self.pop()?;
        let Object::Tuple(items) = self.get(at) else { return Err("is damaged: a storage without a name".into()) };
        let parts: Vec<&Object> = items.iter().map(|item| self.get(*item)).collect();
        let [Object::Text("storage"), Object::Global(Global::Storage(kind)), Object::Text(key), ..] = parts[..] else {
            return Err("names a storage of a kind that is not known".into());
        };
        let storage = Storage { kind: *kind, key };
        self.push(Object::Storage(storage));
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), String> {
        let items = self.last(2)?;
        let (Object::Global(global), Object::Tuple(args)) = (self.get(items[0]), self.get(items[1])) else {
            return Err("calls what cannot be called".into());
        };
        let object = match global {
            Global::OrderedDict => Object::Dict(Vec::new()),
            // A size is its tuple, a parameter its tensor.
            Global::Size | Global::RebuildParameter => {
                let first = *args.first().ok_or("is damaged: a size or parameter of nothing")?;
                self.stack.push(first);
                return Ok(());
            }
            Global::RebuildTensor => {
                let [storage, offset, shape, strides, ..] = args[..] else {
                    return Err("is damaged: a tensor with too few parts".into());
                };
                let size = |at: u32| match self.get(at) {
                    Object::Int(v) => usize::try_from(*v).ok(),
                    _ => None,
                };
                let sizes = |at: u32| match self.get(at) {
                    Object::Tuple(items) if items.len() <= 8 => items.iter().map(|item| size(*item)).collect(),
                    _ => None,
                };
                let wrong = "is damaged: a tensor with a wrong size";
                let (offset, shape, strides) = (size(offset), sizes(shape), sizes(strides));
                Object::Tensor(Box::new(Tensor {
                    storage,
                    offset: offset.ok_or(wrong)?,
                    shape: shape.ok_or(wrong)?,
                    strides: strides.ok_or(wrong)?,
                }))
            }
            Global::Storage(_) => return Err("calls a storage".into()),
        };
        self.push(object);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values() {
        // {'a': [1, -2, 2.5], 'b': ('x', None, True)} by Python's pickle, protocol 2.
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00eX\x01\x00\x00\x00bq\x03X\x01\x00\x00\x00xq\x04N\x88\x87q\x05u.";
        let pickle = read(bytes).unwrap();
        let Object::Dict(items) = pickle.root() else { panic!() };
        assert_eq!(items.len(), 2);
        let Object::List(list) = pickle.get(items[0].1) else { panic!() };
        let values: Vec<_> = list.iter().map(|at| pickle.get(*at).clone()).collect();
        assert_eq!(values, [Object::Int(1), Object::Int(-2), Object::Float(2.5)]);
    }

    #[test]
    fn nothing_is_run() {
        let message = read(b"cos\nsystem\n(X\x04\x00\x00\x00echotR.").err().unwrap();
        assert!(message.contains("os.system") && message.contains("not run"), "{message}");
        for (bytes, why) in [
            (&b""[..], "ends too early"),
            (b".", "empty stack"),
            (b"t.", "mark is missing"),
            (b"h\x07.", "never noted"),
            (b"NNR.", "cannot be called"),
            (b"N]s.", "empty stack"),
            (b"X\xff\xff\xff\xff.", "ends too early"),
            (b"\xf0.", "instruction 0xf0"),
            (b"(((((((((", "ends too early"),
        ] {
            let message = read(bytes).err().unwrap();
            assert!(message.contains(why), "{bytes:?}: {message}");
        }
    }
}
