import pytest

from trainer.preflight import hlo

MODULE = """HloModule jit_step, is_scheduled=true

%fused (param_0.1: bf16[512,1024]) -> bf16[512,1024] {
  %param_0.1 = bf16[512,1024]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %tanh.0 = bf16[512,1024]{1,0:T(8,128)(2,1)} tanh(%param_0.1)
}

%body (state: (s32[], f32[256])) -> (s32[], f32[256]) {
  %state = (s32[]{:T(128)}, f32[256]{0:T(256)}) parameter(0)
  %count = s32[]{:T(128)S(1)} get-tuple-element(%state), index=0
  %vector = f32[256]{0:T(256)} get-tuple-element(%state), index=1
  %doubled = f32[256]{0:T(256)} add(%vector, %vector), metadata={op_name="loop/add"}
  ROOT %next = (s32[]{:T(128)}, f32[256]{0:T(256)}) tuple(%count, %doubled)
}

ENTRY %main.2 (x.1: bf16[512,1024], w.1: bf16[1024,1024], c.1: (s32[], f32[256])) -> bf16[512,1024] {
  %w.1 = bf16[1024,1024]{1,0:T(8,128)(2,1)} parameter(1), metadata={op_name="state[0]"}
  %copy-start = (bf16[1024,1024]{1,0:T(8,128)(2,1)S(1)}, bf16[1024,1024]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%w.1), cross_program_prefetch_index=0
  %x.1 = bf16[512,1024]{1,0:T(8,128)(2,1)} parameter(0)
  %copy-done = bf16[1024,1024]{1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start)
  %c.1 = (s32[]{:T(128)}, f32[256]{0:T(256)}) parameter(2)
  %loop = (s32[]{:T(128)}, /*index=1*/f32[256]{0:T(256)}) while(%c.1), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %convolution_tanh_fusion = bf16[512,1024]{1,0:T(8,128)(2,1)} fusion(%x.1, %copy-done), kind=kOutput, calls=%fused, metadata={op_name="jit(step)/shard_map/call_exported/conv1/Conv2D" stack_frame_id=2}
}
"""  # noqa: E501 (the compiler writes long lines)


def test_traffic_counts_hbm_only_and_transfers_once():
    traffic = {item.name: item for item in hlo.hbm_traffic(MODULE)}
    assert set(traffic) == {"copy-start", "doubled", "convolution_tanh_fusion"}
    weight_bytes, batch_bytes = 2 * 1024 * 1024, 2 * 512 * 1024
    assert (traffic["copy-start"].read_bytes, traffic["copy-start"].written_bytes) == (weight_bytes, 0)
    fusion = traffic["convolution_tanh_fusion"]
    assert (fusion.read_bytes, fusion.written_bytes) == (batch_bytes, batch_bytes), "the weight is read on the chip"
    assert fusion.op_name == "conv1/Conv2D"


def test_traffic_of_a_loop_is_that_of_all_its_trips():
    doubled = next(item for item in hlo.hbm_traffic(MODULE) if item.name == "doubled")
    assert doubled.op_name == "loop/add"
    assert (doubled.read_bytes, doubled.written_bytes) == (5 * 2 * 256 * 4, 5 * 256 * 4)


def test_an_operation_that_writes_to_hbm_asynchronously_counts_its_destination():
    module = """ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0:T(128)S(1)} parameter(0)
  %out-start = (f32[8]{0:T(128)}, f32[8]{0:T(128)S(1)}, u32[]{:S(2)}) copy-start(%x)
  ROOT %out = f32[8]{0:T(128)} copy-done(%out-start)
}
"""
    (only,) = hlo.hbm_traffic(module)
    assert (only.read_bytes, only.written_bytes) == (0, 32)


def test_a_sum_of_many_tensors_does_not_bear_the_name_of_one():
    module = """ENTRY %main (x: f32[8], y: f32[4]) -> (f32[8], f32[4]) {
  %x = f32[8]{0:T(128)} parameter(0)
  %y = f32[4]{0:T(128)} parameter(1)
  %one = f32[4]{0:T(128)} all-reduce(%y), to_apply=%add, metadata={op_name="head/bias/XlaAllReduce"}
  ROOT %both = (f32[8]{0}, f32[4]{0}) all-reduce(%x, %one), to_apply=%add, metadata={op_name="stem/kernel/XlaAllReduce"}
}
"""
    assert [item.op_name for item in hlo.hbm_traffic(module)] == ["head/bias/XlaAllReduce", "2 tensors/XlaAllReduce"]


def test_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.hbm_traffic("HloModule empty\n")


def test_a_slice_reads_what_it_moves():
    module = """ENTRY %main (x: f32[8,128]) -> f32[2,128] {
  %x = f32[8,128]{1,0:T(8,128)} parameter(0)
  %part-start = ((f32[8,128]{1,0:T(8,128)}), f32[2,128]{1,0:T(2,128)S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:2], [0:128]}
  ROOT %part = f32[2,128]{1,0:T(2,128)S(1)} slice-done(%part-start)
}
"""  # noqa: E501 (the compiler writes long lines)
    (only,) = hlo.hbm_traffic(module)
    assert only.read_bytes == pytest.approx(2 * 128 * 4, abs=8)
    assert only.written_bytes == 0


def test_a_sum_that_the_sparse_cores_do_is_read_and_written_once():
    module = """ENTRY %main (x: f32[8,128]) -> f32[8,128] {
  %x = f32[8,128]{1,0:T(8,128)} parameter(0)
  %sum-start = ((), (), (s32[9999]{0:T(1024)}, s32[53]{0:T(1)S(11)})) async-start(), calls=%async_computation
  %sum-update = ((f32[8,128]{1,0:T(8,128)}), f32[8,128]{1,0:T(8,128)}, (s32[9999]{0:T(1024)})) async-update(%sum-start, %x), metadata={op_name="sum"}
  ROOT %sum-done = f32[8,128]{1,0:T(8,128)} async-done(%sum-update), metadata={op_name="sum"}
}
"""  # noqa: E501 (the compiler writes long lines)
    moved = hlo.hbm_traffic(module)
    assert [(item.op_name, item.read_bytes, item.written_bytes) for item in moved] == [
        ("sum", 4 * 8 * 128, 0),
        ("sum", 0, 4 * 8 * 128),
    ]
