//! A shared library, opened at run time.

use std::{ffi::CStr, marker::PhantomData, mem, ops::Deref};

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
    /// By the name that the loader looks for. The libraries asked for here are NVIDIA's, whose initialisers may run.
    pub fn open(name: &CStr) -> Option<Self> {
        // SAFETY: the name is a C string; loading runs the library's initialisers only, as any use of it does.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
        // Made only if there is one: what is made is closed.
        (!handle.is_null()).then(|| Self(handle))
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

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the handle came from dlopen and is closed once.
        unsafe { libc::dlclose(self.0) };
    }
}
