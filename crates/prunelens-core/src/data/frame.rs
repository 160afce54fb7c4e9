//! A table of columns as files that data frames are made of: `.parquet` and `.safetensors`.

use std::{borrow::Cow, sync::Arc};

use parquet::{
    basic::{Compression, LogicalType, Repetition, Type as Physical},
    column::writer::ColumnWriter,
    data_type::{ByteArray, ByteArrayType, DoubleType},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::Type,
};
use safetensors::{Dtype, tensor::TensorView};

use crate::error::{Error, Result};

/// Columns of equal length, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Numbers, by name; NaN where there is none.
    pub numbers: Vec<(String, Vec<f64>)>,
    /// Words, by name; they follow the numbers.
    pub words: Vec<(String, Vec<Cow<'static, str>>)>,
}

impl Frame {
    /// All names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let numbers = self.numbers.iter().map(|(name, _)| name.as_str());
        numbers.chain(self.words.iter().map(|(name, _)| name.as_str()))
    }

    /// A column of numbers.
    pub fn column(&self, name: &str) -> Option<&[f64]> {
        self.numbers.iter().find(|(column, _)| column == name).map(|(_, values)| values.as_slice())
    }

    /// One row group, numbers as `DOUBLE` with null for NaN, words as text.
    pub fn to_parquet(&self) -> Result<Vec<u8>> {
        self.parquet().map_err(|e| Error::invalid(format!("the columns cannot be put in a parquet file: {e}")))
    }

    fn parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let mut fields = Vec::new();
        for (name, _) in &self.numbers {
            let field = Type::primitive_type_builder(name, Physical::DOUBLE).with_repetition(Repetition::OPTIONAL);
            fields.push(Arc::new(field.build()?));
        }
        for (name, _) in &self.words {
            let field = Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
                .with_repetition(Repetition::REQUIRED)
                .with_logical_type(Some(LogicalType::String));
            fields.push(Arc::new(field.build()?));
        }
        let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        let mut numbers = self.numbers.iter().map(|(_, values)| values);
        let mut words = self.words.iter().map(|(_, values)| values);
        while let Some(mut column) = group.next_column()? {
            if let ColumnWriter::DoubleColumnWriter(_) = column.untyped() {
                let values = numbers.next().map_or(&[][..], Vec::as_slice);
                let levels: Vec<i16> = values.iter().map(|v| i16::from(!v.is_nan())).collect();
                let known: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
                column.typed::<DoubleType>().write_batch(&known, Some(&levels), None)?;
            } else {
                let values = words.next().map_or(&[][..], Vec::as_slice);
                let values: Vec<ByteArray> = values.iter().map(|word| ByteArray::from(&**word)).collect();
                column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
            }
            column.close()?;
        }
        group.close()?;
        writer.close()?;
        Ok(bytes)
    }

    /// A tensor a column of numbers, in float64; words have no place there.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let failed = |e| Error::invalid(format!("the columns cannot be put in a safetensors file: {e}"));
        let bytes = |values: &[f64]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let columns: Vec<_> =
            self.numbers.iter().map(|(name, values)| (name, vec![values.len()], bytes(values))).collect();
        let views = columns.iter().map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F64, shape.clone(), bytes).map_err(failed)?))
        });
        safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::records::read_records;

    #[test]
    fn files_give_the_columns_again() {
        let frame = Frame {
            numbers: vec![
                ("mass.pruned.0.25".into(), vec![0.1 + 0.2, f64::NAN, -1e-300]),
                ("a".into(), vec![f64::NAN; 3]),
            ],
            words: vec![("fate".into(), ["kept", "", "dead"].map(Cow::from).into())],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        std::fs::write(&path, frame.to_parquet().unwrap()).unwrap();
        let records = read_records(&path, &["fate", "mass.pruned.0.25", "a"]).unwrap();
        let number = |at: usize| records[at].values[1].as_ref().map(|text| text.parse::<f64>().unwrap());
        assert_eq!([number(0), number(1), number(2)], [Some(0.1 + 0.2), None, Some(-1e-300)]);
        assert_eq!(records[2].values[0].as_deref(), Some("dead"));
        assert!(records.iter().all(|record| record.values[2].is_none()));

        let bytes = frame.to_safetensors().unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let read = tensors.tensor("mass.pruned.0.25").unwrap();
        assert_eq!((read.dtype(), read.shape()), (Dtype::F64, &[3][..]));
        let values: Vec<f64> = read.data().as_chunks::<8>().0.iter().map(|v| f64::from_le_bytes(*v)).collect();
        assert!(values[0] == 0.1 + 0.2 && values[1].is_nan() && values[2] == -1e-300);
        assert_eq!(tensors.len(), 2);
    }
}
