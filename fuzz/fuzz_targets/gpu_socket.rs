#![no_main]

virtio_loopback_gpu_fuzz::libfuzzer!(gpu_socket);
