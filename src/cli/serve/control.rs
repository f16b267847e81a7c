//! What `ctl` asks and tells a running device.

use std::sync::{Arc, Mutex};

use virtio_loopback_display::DisplayHandle;
use virtio_loopback_gpu::adapter::{Cgroup, MonitorChange, Monitors, Shared, WindowSizes};
use virtio_loopback_gpu::control::{Controlled, MonitorStatus, ScanoutRequest, Status};
use virtio_loopback_gpu::input::Router;
use virtio_loopback_gpu::limits::DeviceLimits;
use virtio_loopback_gpu::one_line;
use virtio_loopback_gpu::sandbox::Mode;
use virtio_loopback_gpu::sync::lock;

use super::input::input_status;
use super::{DeviceOptions, limit_status, scanout_status, status};
use crate::cli::stop::Stopper;

/// A device as `ctl` sees it.
pub struct Control {
    name: String,
    display: DisplayHandle,
    shared: Arc<Mutex<Shared>>,
    monitors: Monitors,
    router: Router,
    limits: DeviceLimits,
    /// The backend is not ours.
    foreign: bool,
    mode: Option<Mode>,
    cgroup: Option<String>,
    stopper: Stopper,
    /// Who sees to it that clients take what is set.
    sizes: WindowSizes,
}

/// What `ctl` asks, and what it changes.
pub struct Parts<'a> {
    pub display: &'a DisplayHandle,
    pub shared: &'a Arc<Mutex<Shared>>,
    pub monitors: &'a Monitors,
    pub router: &'a Router,
    pub cgroup: Option<&'a Cgroup>,
    pub sizes: WindowSizes,
}

impl Control {
    pub fn new(options: &DeviceOptions, parts: Parts<'_>, stopper: Stopper) -> Self {
        let foreign = options.backend.is_some();
        let Parts { display, shared, monitors, router, cgroup, sizes } = parts;
        Self {
            name: options.name.clone(),
            display: display.clone(),
            shared: Arc::clone(shared),
            monitors: monitors.clone(),
            router: router.clone(),
            limits: options.limits.limits(),
            foreign,
            mode: (!foreign).then(|| options.sandbox.mode()),
            cgroup: cgroup.map(|cgroup| cgroup.path().display().to_string()),
            stopper,
            sizes,
        }
    }
}

impl Controlled for Control {
    fn display(&self) -> &DisplayHandle {
        &self.display
    }

    fn status(&self) -> Status {
        let scanouts = 0..self.monitors.count();
        let scanouts = scanouts.filter_map(|scanout| scanout_status(&self.display, scanout));
        let status = status(&self.name, self.mode, scanouts.collect(), &self.shared);
        let limits = limit_status(&self.limits, self.foreign, &lock(&self.shared));
        let monitors = (0..).zip(self.monitors.all());
        let monitors = monitors.map(|(scanout, spec)| MonitorStatus {
            scanout,
            monitor: spec.map(|spec| spec.to_string()),
        });
        Status {
            limits,
            cgroup: self.cgroup.clone(),
            monitors: monitors.collect(),
            input: input_status(&self.router),
            ..status
        }
    }

    fn scanouts(&self) -> u32 {
        self.monitors.count()
    }

    fn change_scanout(&self, request: ScanoutRequest) -> Result<u32, String> {
        let change = MonitorChange::try_from(request).map_err(|error| one_line(&error))?;
        let set = match &change {
            MonitorChange::Set(_, monitor) => Some((monitor.mode.width, monitor.mode.height)),
            _ => None,
        };
        let changed = self.monitors.change(change).map_err(|error| one_line(&error))?;
        let plugged = self.monitors.has(changed.scanout);
        let told = self.display.set_plugged(changed.scanout, plugged);
        told.map_err(|error| one_line(&error))?;
        if changed.is_news {
            Shared::monitors_changed(&self.shared).map_err(|error| one_line(&error))?;
        }
        if let Some((width, height)) = set {
            self.sizes.monitor_set(changed.scanout, width, height);
        }
        Ok(changed.scanout)
    }

    fn quit(&self) {
        self.stopper.stop();
    }

    fn detach(&self) -> bool {
        Shared::leave_device(&self.shared)
    }
}
