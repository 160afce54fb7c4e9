//! A shared library, opened at run time.

use std::{
    ffi::{CStr, CString, OsStr},
    marker::PhantomData,
    mem,
    ops::Deref,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Closed when dropped.
pub struct Library(*mut libc::c_void);

/// A function of a library, for as long as the library is open.
pub struct Symbol<'a, F> {
    function: F,
    library: PhantomData<&'a Library>,
}

impl<F> Deref for Symbol<'_, F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.function
    }
}

impl Library {
    /// By the name that the loader looks for, or say why not in the loader's words. The libraries asked for here are NVIDIA's,
    /// whose initialisers may run.
    pub fn open(name: &CStr) -> Result<Self, String> {
        // What it needs itself is found now, not when it is first called.
        // SAFETY: the name is a C string; loading runs the library's initialisers only, as any use of it does.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(refusal());
        }
        // Made only if there is one: what is made is closed.
        Ok(Self(handle))
    }

    /// From where it lies.
    pub fn open_file(path: &Path) -> Result<Self, String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| e.to_string())?;
        Self::open(&name)
    }

    /// Leave it open until the program ends: whoever looks for it by the name that it gives itself finds this one.
    pub fn keep(self) {
        mem::forget(self);
    }

    /// The file that one of its functions comes from.
    pub fn file(&self, function: &CStr) -> Option<PathBuf> {
        // SAFETY: the handle is open and the name is a C string.
        let address = unsafe { libc::dlsym(self.0, function.as_ptr()) };
        let mut info = mem::MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: a place for one; any address may be asked about.
        if address.is_null() || unsafe { libc::dladdr(address, info.as_mut_ptr()) } == 0 {
            return None;
        }
        // SAFETY: zeros are one, and it was written to.
        let name = unsafe { info.assume_init() }.dli_fname;
        if name.is_null() {
            return None;
        }
        // SAFETY: the loader's own text, which lives as long as the library is open.
        let name = unsafe { CStr::from_ptr(name) };
        Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
    }

    /// # Safety
    /// `F` must be the type of a pointer to the function of that name.
    pub unsafe fn function<F: Copy>(&self, name: &CStr) -> Option<Symbol<'_, F>> {
        // SAFETY: the handle is open and the name is a C string.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() || size_of::<F>() != size_of_val(&address) {
            return None;
        }
        // SAFETY: `F` is a pointer to this function, as the caller promises.
        let function = unsafe { mem::transmute_copy::<*mut libc::c_void, F>(&address) };
        Some(Symbol { function, library: PhantomData })
    }
}

/// Why the loader refused last.
fn refusal() -> String {
    // SAFETY: null, or text of the loader's that stays until this thread asks it for something else.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the loader does not say why".into();
    }
    // SAFETY: as above; it is copied at once.
    crate::text::shorten(&unsafe { CStr::from_ptr(text) }.to_string_lossy(), 200)
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the handle came from dlopen and is closed once.
        unsafe { libc::dlclose(self.0) };
    }
}
