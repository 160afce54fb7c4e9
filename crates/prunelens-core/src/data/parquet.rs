//! Columns of `.parquet` files, as data sets are published in them.

use std::{fs::File, path::Path, sync::Arc};

use parquet::{
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
    schema::types::Type,
};

use super::record::{Record, Records, columns};
use crate::{
    error::{Error, Result},
    panics::catch_panic,
    text::shorten,
};

/// The wanted columns of every row; only their pages are read.
pub fn read(path: &Path, wanted: &[&str]) -> Result<Vec<Record>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    // The library checks most of what a damaged file can hold, but not all.
    catch_panic(|| read_file(path, file, wanted))
        .unwrap_or_else(|_| Err(Error::file(path, "damaged: not a parquet file that can be read")))
}

fn read_file(path: &Path, file: File, wanted: &[&str]) -> Result<Vec<Record>> {
    let failed = |error: ParquetError| Error::file(path, shorten(&error.to_string(), 200));
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let root = reader.metadata().file_metadata().schema();
    let names: Vec<String> = root.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut places = columns(path, wanted, &names)?;
    places.sort_unstable();
    places.dedup();
    let fields = places.iter().map(|&at| Arc::clone(&root.get_fields()[at])).collect();
    let projection = Type::group_type_builder(root.name()).with_fields(fields).build().map_err(failed)?;
    let mut records = Records::default();
    for (at, row) in reader.get_row_iter(Some(projection)).map_err(failed)?.enumerate() {
        let place = format!("row {}", at + 1);
        let row = row.map_err(|error| Error::file(path, format!("{place}: {}", shorten(&error.to_string(), 200))))?;
        let value = |name: &&str| {
            let field = row.get_column_iter().find(|(column, _)| column == name).map(|(_, field)| field);
            field.map_or(Ok(None), text).map_err(|what| Error::file(path, format!("{place}: {name:?} {what}")))
        };
        let values = wanted.iter().map(value).collect::<Result<_>>()?;
        records.push(Record { place, values }).map_err(|what| Error::file(path, what))?;
    }
    Ok(records.into_rows())
}

fn text(field: &Field) -> Result<Option<String>, &'static str> {
    Ok(match field {
        Field::Null => None,
        Field::Str(text) => Some(text.clone()),
        Field::Bytes(bytes) => Some(std::str::from_utf8(bytes.data()).map_err(|_| "is not UTF-8 text")?.to_owned()),
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => {
            return Err("is neither text nor a number");
        }
        value => Some(value.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use parquet::{
        basic::{Compression, ZstdLevel},
        column::writer::ColumnWriter,
        data_type::{ByteArray, ByteArrayType, Int64Type},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };

    use super::*;

    fn file(compression: Compression, texts: &[Option<&[u8]>]) -> Vec<u8> {
        let schema = "message schema { REQUIRED INT64 label; OPTIONAL BYTE_ARRAY text (UTF8); REQUIRED INT64 other; }";
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut bytes = Vec::new();
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let numbers: Vec<i64> = (0..texts.len() as i64).collect();
        while let Some(mut column) = group.next_column().unwrap() {
            if matches!(column.untyped(), ColumnWriter::ByteArrayColumnWriter(_)) {
                let levels: Vec<i16> = texts.iter().map(|t| t.is_some().into()).collect();
                let values: Vec<ByteArray> = texts.iter().flatten().map(|t| t.to_vec().into()).collect();
                column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            } else {
                column.typed::<Int64Type>().write_batch(&numbers, None, None).unwrap();
            }
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
        bytes
    }

    fn read_bytes(bytes: &[u8]) -> Result<Vec<Record>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        std::fs::write(&path, bytes).unwrap();
        read(&path, &["text", "label"])
    }

    #[test]
    fn columns_in_the_order_asked_for() {
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
            let records = read_bytes(&file(compression, &[Some("ä".as_bytes()), None])).unwrap();
            assert_eq!(records[0].values, [Some("ä".to_owned()), Some("0".to_owned())]);
            assert_eq!(records[1].values, [None, Some("1".to_owned())]);
            assert_eq!(records[1].place, "row 2");
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let whole = file(Compression::SNAPPY, &[Some(b"some text"), Some(b"more"), Some(b"\xff\xfe")]);
        assert!(read_bytes(&whole).is_err(), "text that is not UTF-8");
        let good = file(Compression::SNAPPY, &[Some(b"some text"), Some(b"more of it")]);
        for cut in 0..good.len() {
            assert!(read_bytes(&good[..cut]).is_err());
            // A flipped byte may still give a file: it must not end the program.
            let mut flipped = good.clone();
            flipped[cut] ^= 0x55;
            let _ = read_bytes(&flipped);
        }
    }
}
