//! A GPU that is in use.

use candle_core::Device;

use crate::quiet::quietly;

/// What is known of a device once it is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    pub name: String,
    pub total_bytes: u64,
    pub free_bytes: u64,
}

impl Opened {
    /// "NVIDIA H200, 140 GiB".
    pub fn label(&self) -> String {
        format!("{}, {:.0} GiB", self.name, self.total_bytes as f64 / (1_u64 << 30) as f64)
    }
}

/// Open GPU `n`, or say why it cannot be. What is missing is looked for first: the bindings may panic without it, and
/// already to put their own error into words takes the driver.
pub fn open(n: usize) -> Result<Device, String> {
    let missing = super::libraries::missing();
    if !missing.is_empty() {
        return Err(missing.join("; "));
    }
    match quietly(|| Device::new_cuda(n).map_err(|e| e.to_string())) {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(why)) | Err(why) => Err(crate::text::shorten(&why, 200)),
    }
}

/// None for the processor, and for a GPU that does not answer.
#[cfg(feature = "cuda")]
pub fn opened(device: &Device) -> Option<Opened> {
    let context = device.as_cuda_device().ok()?.cuda_stream().context().clone();
    let ask = || Some((context.name().ok()?, context.mem_get_info().ok()?));
    let (name, (free, total)) = quietly(ask).ok()??;
    Some(Opened { name: crate::text::safe(&name), total_bytes: total as u64, free_bytes: free as u64 })
}

/// None: this program was built without CUDA.
#[cfg(not(feature = "cuda"))]
pub fn opened(_: &Device) -> Option<Opened> {
    None
}
