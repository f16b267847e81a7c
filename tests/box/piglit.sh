#!/bin/bash
# timeout: 900
# A subset of piglit, by virgl and by llvmpipe: what llvmpipe passes, virgl passes, too, or piglit-known.txt says why not.
# Results: target/test/piglit.
. tests/box/lib.sh

OUT=target/test/piglit
# Without a window, and so without dumb buffers: virtio_gpu has them in 32 bits only, which most tests are not content with.
export EGL_PLATFORM=surfaceless PIGLIT_NO_FAST_SKIP=1

# Programs of piglit's, each in a process of its own: textures, framebuffers, blending, queries, reading back, vertex and
# uniform buffers, synchronization, transform feedback.
programs=(
    'spec@arb_clear_texture@arb_clear_texture-(simple|integer|stencil)$' 'spec@arb_sampler_objects@sampler-objects'
    'spec@ext_texture_array@getteximage-targets 2d_array$' 'spec@arb_texture_rg@fbo-rg-gl_rg?8$'
    'spec@ext_framebuffer_object@fbo-(1d|3d|cubemap|copyteximage|clearmipmap|alphatest-nocolor|generatemipmap)$'
    'spec@ext_packed_depth_stencil@fbo-depth-gl_depth24_stencil8-(blit|clear|readpixels)$'
    'spec@!opengl 1\.4@blendminmax' 'spec@arb_texture_rgb10_a2ui@fbo-blending' 'spec@ext_draw_buffers2@fbo-drawbuffers2-blend'
    'spec@arb_occlusion_query@occlusion_query(_order)?$' 'spec@arb_color_buffer_float@.*-readpixels'
    'spec@ext_texture_integer@api-' 'spec@arb_vertex_buffer_object@vbo-(bufferdata|map)' 'spec@arb_map_buffer_range@.* offset=0'
    'spec@arb_copy_buffer@(copybuffersubdata|intra)' 'spec@arb_uniform_buffer_object@(fs|rendering)$'
    'spec@arb_draw_instanced@arb_draw_instanced-drawarrays$' 'spec@arb_sync@(sync_api|timeout-zero)'
    'spec@ext_transform_feedback@order arrays points' 'spec@!opengl 3\.1@primitive-restart-xfb written'
)
# Groups of shaders, each group in one process.
shaders=(
    '^fast_color_clear$' '^spec@glsl-1\.10@execution@(derivatives|discard|function-calls|interpolation)$'
    '^spec@glsl-1\.20@execution@(array_bounds|clipping|qualifiers|uniform-initializer)$'
    '^spec@glsl-1\.30@execution@(clipping|switch)$' '^spec@glsl-1\.50@uniform_buffer$'
    '^spec@(arb_texture_rectangle|ext_texture_array)$'
)

# renderer PATTERN — fails unless OpenGL is rendered so.
renderer() { eglinfo -B -p surfaceless 2>&1 | grep 'profile renderer:' | grep -q "renderer: $1"; }

# subset PROFILE NAME REGEX… — runs what matches.
subset() {
    piglit run --log-level quiet --platform surfaceless_egl --jobs 2 --timeout 240 --process-isolation false \
        "${@:3}" "$1" "$OUT/$2" >"$OUT/$2.log" 2>&1 || fail "piglit: $(tail -n 5 "$OUT/$2.log")"
}

# run_piglit NAME — both parts.
run_piglit() {
    subset quick_gl "$1-programs" "${programs[@]/#/--include-tests=}"
    subset quick_shader "$1-shaders" "${shaders[@]/#/--include-tests=}"
}

rm -rf "$OUT"
mkdir -p "$OUT"
start_device llvmpipe --render 2d
export LIBGL_ALWAYS_SOFTWARE=1
renderer llvmpipe || fail "not by llvmpipe: $(eglinfo -B -p surfaceless 2>&1)"
run_piglit llvmpipe
unset LIBGL_ALWAYS_SOFTWARE
stop_device llvmpipe
echo "llvmpipe: $SECONDS s"

start_device virgl --render virgl
renderer virgl || fail "not by virgl: $(eglinfo -B -p surfaceless 2>&1)"
# Two programs at a time, for each other's contexts to come and go.
run_piglit virgl
# Without it the tests that were left have been drawn in software.
renderer virgl || fail "no longer by virgl: $(eglinfo -B -p surfaceless 2>&1)"
virtio-loopback-gpu ctl --name virgl status --json | grep -q '"backend_restarts": *0' || fail "the renderer has died"
cp /tmp/virgl.log "$OUT/device.log"
stop_device virgl
unload
echo "both: $SECONDS s"

scripts/lib/piglit.py --known tests/box/piglit-known.txt --at-least 250 \
    "$OUT"/llvmpipe-{programs,shaders} -- "$OUT"/virgl-{programs,shaders}
