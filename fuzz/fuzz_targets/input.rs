#![no_main]

virtio_loopback_gpu_fuzz::libfuzzer!(input);
