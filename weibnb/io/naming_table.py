"""The names that families of models give to what is in a layer, before it and around it.

To teach weibnb a new architecture, add a row to `TABLE`: the names inside a layer, one row per
naming family. The tables around it know the rest: `CLASSES` the components, their weight class
and their order in a layer, `TOWER_MARKS` the words before the layer number, `STORED_IN_OUT` who
stores matrices transposed, and the sets of words below them what is no projection, and why.
"""

from __future__ import annotations

# Every component, in the order in which a layer applies them, and its class: queries and keys
# select, the output projection and the feed-forward transmit; in multi-head latent attention the
# query's two factors select, and a matrix that holds keys and values is fused.
CLASSES: dict[str, str] = {
    "qkv_proj": "fused",
    "q_proj": "selection",
    "q_a_proj": "selection",
    "q_b_proj": "selection",
    "k_proj": "selection",
    "kv_proj": "fused",
    "kv_a_proj": "fused",
    "kv_b_proj": "fused",
    "v_proj": "value",
    "o_proj": "transmission",
    "router": "other",
    "gate_proj": "transmission",
    "gate_up_proj": "transmission",
    "up_proj": "transmission",
    "down_proj": "transmission",
}
WITHIN_A_LAYER = ("cross", "shared_expert")  # prefixes of components that are no towers

_QKVO = "q_proj k_proj v_proj o_proj"
_CROSS_QKVO = "cross.q_proj cross.k_proj cross.v_proj cross.o_proj"
_CONTEXT_QKVO = "context.q_proj context.k_proj context.v_proj context.o_proj"
_GLU = "gate_proj up_proj down_proj"
_CONTEXT_GLU = "context.gate_proj context.up_proj context.down_proj"
_SHARED_GLU = "shared_expert.gate_proj shared_expert.up_proj shared_expert.down_proj"
_ATTENTION = "self_attn attn attention self_attention mixer"
_FEED_FORWARD = "mlp feed_forward ffn block_sparse_moe moe mixer"
_LATENT_Q = "q_proj q_a_proj q_b_proj"
_EXPERTS = "mlp.experts feed_forward.experts ffn.experts block_sparse_moe.experts mixer.experts"
_SHARED = (
    "mlp.shared_expert mlp.shared_experts mlp.shared_mlp mixer.shared_experts "
    "feed_forward.shared_expert feed_forward.shared_experts ffn.shared_experts"
)

# The path between the layer number and `.weight` (an expert's number left out), as any of the
# parents joined to a leaf, and the component of each leaf. An empty parent is written ".".
TABLE: tuple[tuple[str, str, str], ...] = (
    # Llama, Mistral, Qwen 2 and 3, Gemma, OLMo 1 and 2, Cohere, GLM 4, Phi-3, ViT in transformers 5
    (_ATTENTION, f"{_QKVO} qkv_proj", f"{_QKVO} qkv_proj"),
    (_FEED_FORWARD, f"{_GLU} gate_up_proj", f"{_GLU} gate_up_proj"),
    # Mixture of experts: Mixtral, Qwen-MoE, OLMoE, DeepSeek, Llama 4, gpt-oss, Jamba, Granite
    (_EXPERTS, f"{_GLU} gate_up_proj", f"{_GLU} gate_up_proj"),
    (_EXPERTS, "w1 w3 w2", _GLU),
    (_SHARED, _GLU, _SHARED_GLU),
    (_SHARED, "w1 w3 w2", _SHARED_GLU),
    (_FEED_FORWARD, "gate router router.layer router.classifier", "router router router router"),
    ("block_sparse_moe", "input_linear output_linear", "gate_up_proj down_proj"),
    ("shared_mlp", "input_linear", "shared_expert.gate_up_proj"),
    ("shared_mlp", "output_linear", "shared_expert.down_proj"),
    # Multi-head latent attention: DeepSeek, MiniCPM3; then DeepSeek's own inference code
    ("self_attn", "q_a_proj q_b_proj kv_b_proj", "q_a_proj q_b_proj kv_b_proj"),
    ("self_attn", "kv_a_proj_with_mqa kv_a_proj", "kv_a_proj kv_a_proj"),
    ("attn", "wq_a wq_b wkv_a wkv_b", "q_a_proj q_b_proj kv_a_proj kv_b_proj"),
    # Llama, Mistral and DeepSeek as their authors released them; InternLM 2
    ("attention attn", "wq wk wv wo wqkv", f"{_QKVO} qkv_proj"),
    ("feed_forward ffn", "w1 w3 w2", _GLU),
    # OLMo 1 as its authors released it
    (".", "att_proj attn_out ff_proj ff_out", "qkv_proj o_proj gate_up_proj down_proj"),
    (".", "q_proj k_proj v_proj", "q_proj k_proj v_proj"),
    # GPT-2, nanoGPT, GPT-BigCode, StarCoder 2; nanochat
    ("attn", "c_attn c_proj", "qkv_proj o_proj"),
    ("attn", "c_q c_k c_v", "q_proj k_proj v_proj"),
    ("mlp", "c_fc c_proj", "up_proj down_proj"),
    ("crossattention", "q_attn c_attn c_proj", "cross.q_proj cross.kv_proj cross.o_proj"),
    # GPT-NeoX, Pythia, BLOOM, Falcon
    ("attention self_attention attn", "query_key_value dense", "qkv_proj o_proj"),
    ("mlp", "dense_h_to_4h dense_4h_to_h", "up_proj down_proj"),
    # GPT-J, CodeGen; GPT-Neo
    ("attn.attention", "q_proj k_proj v_proj out_proj", _QKVO),
    ("mlp", "fc_in fc_out", "up_proj down_proj"),
    # Phi 1 and 2, in both namings (`mixer.out_proj` is Mamba's too: see `_is_stranger`)
    ("self_attn", "dense", "o_proj"),
    ("mixer", "Wqkv out_proj", "qkv_proj o_proj"),
    # MPT, ModernBERT, Baichuan
    ("attn", "Wqkv Wo", "qkv_proj o_proj"),
    ("mlp", "Wi Wo", "gate_up_proj down_proj"),
    ("self_attn", "W_pack", "qkv_proj"),
    # OPT, BART, Whisper, Marian, CLIP, SigLIP, wav2vec 2.0, MiniMax, GPT-J, MPT
    ("self_attn attention attn", "out_proj", "o_proj"),
    ("encoder_attn cross_attn", "q_proj k_proj v_proj out_proj", _CROSS_QKVO),
    ("cross_attn", "o_proj", "cross.o_proj"),
    (". mlp ffn ffn.experts", "fc1 fc2", "up_proj down_proj"),
    ("feed_forward", "intermediate_dense output_dense", "up_proj down_proj"),
    # Whisper and CLIP as their authors released them; torch.nn.Transformer
    ("attn", "query key value out", _QKVO),
    ("cross_attn", "query key value out", _CROSS_QKVO),
    ("mlp", "0 2", "up_proj down_proj"),
    ("attn self_attn", "in_proj_weight", "qkv_proj"),
    ("multihead_attn", "in_proj_weight out_proj", "cross.qkv_proj cross.o_proj"),
    (".", "linear1 linear2", "up_proj down_proj"),
    # BERT, RoBERTa, ELECTRA, ESM, ViT, DeBERTa; DistilBERT; MPNet
    ("attention.self attention.attention", "query key value", "q_proj k_proj v_proj"),
    ("attention.self", "query_proj key_proj value_proj", "q_proj k_proj v_proj"),
    ("crossattention.self", "query key value", "cross.q_proj cross.k_proj cross.v_proj"),
    ("attention.output", "dense", "o_proj"),
    ("crossattention.output", "dense", "cross.o_proj"),
    ("intermediate", "dense", "up_proj"),
    ("output", "dense", "down_proj"),
    ("attention", "q_lin k_lin v_lin out_lin", _QKVO),
    ("ffn mlp", "lin1 lin2", "up_proj down_proj"),
    ("attention.attn", "q k v o", _QKVO),
    # T5, Switch Transformers
    ("layer.0.SelfAttention", "q k v o", _QKVO),
    ("layer.1.EncDecAttention", "q k v o", _CROSS_QKVO),
    ("layer.1.DenseReluDense layer.2.DenseReluDense", "wi wi_0 wi_1 wo", f"up_proj {_GLU}"),
    ("layer.1.mlp layer.2.mlp", "wi wo router.classifier", "up_proj down_proj router"),
    ("layer.1.mlp.experts layer.2.mlp.experts", "wi wo", "up_proj down_proj"),
    # GGUF, whose names are one word, with the shape of a matrix turned already
    (".", "attn_q attn_k attn_v attn_output attn_qkv", f"{_QKVO} qkv_proj"),
    (".", "attn_q_a attn_q_b", "q_a_proj q_b_proj"),
    (".", "attn_kv_a_mqa attn_kv_b", "kv_a_proj kv_b_proj"),
    (".", "cross_attn_q cross_attn_k cross_attn_v cross_attn_o", _CROSS_QKVO),
    (".", "ffn_gate ffn_up ffn_down ffn_gate_inp", f"{_GLU} router"),
    (".", "ffn_gate_exps ffn_up_exps ffn_down_exps ffn_gate_up_exps", f"{_GLU} gate_up_proj"),
    (".", "ffn_gate_shexp ffn_up_shexp ffn_down_shexp", _SHARED_GLU),
    # timm, DINOv2, and the vision towers of Qwen-VL and InternVL
    ("attn", "qkv proj", "qkv_proj o_proj"),
    ("mlp", "weights_in weights_out", "gate_up_proj down_proj"),
    ("mlp", "linear_fc1 linear_fc2", "up_proj down_proj"),
    # Megatron-Core
    ("self_attention", "linear_qkv linear_proj", "qkv_proj o_proj"),
    ("self_attention", "linear_q_proj linear_q_down_proj linear_q_up_proj", _LATENT_Q),
    ("self_attention", "linear_kv_down_proj linear_kv_up_proj", "kv_a_proj kv_b_proj"),
    ("cross_attention", "linear_q linear_kv", "cross.q_proj cross.kv_proj"),
    ("cross_attention", "linear_proj", "cross.o_proj"),
    ("mlp.experts.local_experts", "linear_fc1 linear_fc2", "up_proj down_proj"),
    ("mlp.shared_experts", "linear_fc1", "shared_expert.up_proj"),
    ("mlp.shared_experts", "linear_fc2", "shared_expert.down_proj"),
    # OLMo-core; torchtitan, whose experts were `moe.experts` before
    ("attention", "w_q w_k w_v w_out", _QKVO),
    ("feed_forward_moe", "router", "router"),
    ("feed_forward_moe.shared_mlp moe.shared_experts", "w1 w3 w2", _SHARED_GLU),
    ("attention.qkv_linear", "wq wk wv", "q_proj k_proj v_proj"),
    ("moe.routed_experts.inner_experts", "w1_EFD w3_EFD w2_EDF", _GLU),
    ("moe.experts", "w1 w3 w2", _GLU),
    ("moe.router", "gate", "router"),
    # MLX's stacks of experts
    ("mlp.switch_mlp block_sparse_moe.switch_mlp", _GLU, _GLU),
    # LitGPT; torchtune
    ("attn", "attn", "qkv_proj"),
    ("mlp mlp.experts", "fc_1 fc_2 proj", _GLU),
    ("mlp", "fc", "up_proj"),
    ("attn", "output_proj", "o_proj"),
    ("mlp", "w1 w3 w2", _GLU),
    # Diffusion transformers in diffusers; in some the text is a stream with matrices of its own
    ("attn attn1 attention", "to_q to_k to_v to_out.0", _QKVO),
    ("attn", "to_kv to_out", "kv_proj o_proj"),
    ("attn2 cross_attn", "to_q to_k to_v to_out.0", _CROSS_QKVO),
    ("attn attn1", "add_q_proj add_k_proj add_v_proj to_add_out", _CONTEXT_QKVO),
    ("ff ffn img_mlp", "net.0.proj net.2", "up_proj down_proj"),
    ("ff", "linear_in linear_out", "up_proj down_proj"),
    ("ff", "linear_1 linear_2 out_projection", _GLU),
    ("feed_forward", "linear_1 linear_3 linear_2", _GLU),
    ("ff_context txt_mlp", "net.0.proj net.2", "context.up_proj context.down_proj"),
    ("ff_context", "linear_in linear_out", "context.up_proj context.down_proj"),
    ("ff_context", "linear_1 linear_2 out_projection", _CONTEXT_GLU),
    (".", "proj_mlp", "up_proj"),
    # FLUX, Stable Diffusion 3 and Wan as their authors released them
    ("img_attn x_block.attn", "qkv proj", "qkv_proj o_proj"),
    ("img_mlp ffn", "0 2", "up_proj down_proj"),
    ("x_block.mlp", "fc1 fc2", "up_proj down_proj"),
    ("txt_attn context_block.attn", "qkv proj", "context.qkv_proj context.o_proj"),
    ("txt_mlp", "0 2", "context.up_proj context.down_proj"),
    ("context_block.mlp", "fc1 fc2", "context.up_proj context.down_proj"),
    ("self_attn", "q k v o", _QKVO),
    ("cross_attn", "q k v o", _CROSS_QKVO),
)

COMPONENT_OF_PATH: dict[str, str] = {
    f"{parent}.{leaf}".lstrip("."): component
    for parents, leaves, components in TABLE
    for parent in parents.split()
    for leaf, component in zip(leaves.split(), components.split(), strict=True)
}

# Qwen 1, whose names torchtune uses for other matrices.
BEHIND_H = {"mlp.w1": "up_proj", "mlp.w2": "gate_proj"}

# Towers and the words before the layer number that name them; the first row that matches wins.
_TOWERS: tuple[tuple[str, str], ...] = (
    ("token2wav", "token2wav"),  # Qwen's Omni models draw sounds by layers of their own
    ("mtp", "mtp mtp_layers"),  # multi-token prediction, which numbers its layers from 0 again
    ("talker", "talker"),
    ("qformer", "qformer"),
    ("connector", "connector resampler"),
    ("token_refiner", "token_refiner"),
    ("noise_refiner", "noise_refiner"),
    ("context_refiner", "context_refiner"),
    ("single", "single_transformer_blocks single_blocks"),  # of one stream, after those of two
    ("vision.global", "global_transformer"),  # Mllama's second image encoder, from 0 again
    ("vision", "vision_tower vision_model vision_encoder vision visual"),
    ("audio", "audio_tower audio_model audio_encoder"),
    ("text", "resblocks"),  # CLIP's own release, whose image tower has "visual" as well
    ("decoder", "decoder dec"),
    ("encoder", "encoder enc"),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOWER_MARKS = tuple((name, _words(marks)) for name, marks in _TOWERS)
CONTAINERS = _words("layers layer h blocks block resblocks blk")
WRAPPERS = _words(
    "module _orig_mod _fsdp_wrapped_module _checkpoint_wrapped_module base_layer pp_block"
)

# GPT-2's `Conv1D` stores (in, out), nanoGPT under the same names (out, in), and Llama 4 its stacks
# of experts (experts, in, out): the wider side tells. It cannot for GPT-2's square `o_proj` and
# for gpt-oss, whose experts are named as Mixtral's; these pass for (out, in), until
# `weibnb.io.fused.is_transposed` has seen a configuration.
STORED_IN_OUT = _words("c_attn c_fc c_proj")
STACKED_IN_OUT = "feed_forward"
WIDENING = _words("qkv_proj cross.kv_proj gate_proj up_proj gate_up_proj")

BUFFERS = _words(
    "inv_freq original_inv_freq freqs freqs_cis cos_cached sin_cached masked_bias position_ids "
    "token_type_ids relative_position_index running_mean running_var num_batches_tracked"
)
QUANTISATION = _words(
    "scale scales biases zeros qzeros g_idx absmax nested_absmax quant_map nested_quant_map SCB "
    "k_scale v_scale input_scale output_scale weight_scale weight_scale_2 weight_global_scale "
    "input_global_scale weight_zero_point input_zero_point weight_shape"
)
PACKED = _words("qweight weight_packed blocks")
NORMS = _words("ln ln1 ln2 q_ln k_ln")
EMBEDDINGS = _words(
    "wte wpe token_embd position_embd token_types shared cls_token mask_token "
    "relative_attention_bias relative_position_bias_table"
)
HEADS = _words(
    "head embed_out score classifier pooler cls pre_classifier vocab_projector vocab_transform "
    "proj_out qa_outputs visual_projection text_projection"
)
# In layers of one stream FLUX has attention and feed-forward in one matrix.
JOINED = _words("linear1 linear2 proj_out attn.to_out")
EXPERT_LISTS = _words("experts local_experts inner_experts switch_mlp")
FINAL_HEADS = _words("output decoder ff_out")
