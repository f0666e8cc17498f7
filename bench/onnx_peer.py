"""The peer of the row `encode`: the same weights in onnxruntime. The graph is built by hand from model.safetensors, once of plain operators (which
onnxruntime then optimises as it does by default) and once of its own fused operators for transformers; each as float32 and with dynamic int8."""
import json
import math
import pathlib
import struct

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def weights(path):
    data = pathlib.Path(path).read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name != "__metadata__" and t["dtype"] == "F32":
            begin, end = t["data_offsets"]
            out[name] = np.frombuffer(data[8 + n + begin:8 + n + end], dtype="<f4").reshape(t["shape"])
    return out


class Graph:
    def __init__(self, w, config):
        self.w, self.c, self.nodes, self.init, self.n = w, config, [], [], 0
        self.h, self.heads, self.eps = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]

    def const(self, value, dtype=None):
        self.n += 1
        value = np.ascontiguousarray(np.array(value, dtype=dtype))
        self.init.append(numpy_helper.from_array(value, f"c{self.n}"))
        return f"c{self.n}"

    def op(self, kind, *inputs, domain="", **attrs):
        self.n += 1
        self.nodes.append(helper.make_node(kind, list(inputs), [f"v{self.n}"], name=f"n{self.n}", domain=domain, **attrs))
        return f"v{self.n}"

    def ms(self, kind, *inputs, **attrs):
        return self.op(kind, *inputs, domain="com.microsoft", **attrs)

    def vec(self, name):
        return self.const(self.w[name])

    def mat(self, name):
        return self.const(self.w[name].T)

    def dense(self, x, p):
        return self.op("Add", self.op("MatMul", x, self.mat(p + ".weight")), self.vec(p + ".bias"))

    def norm(self, x, p):
        return self.op("LayerNormalization", x, self.vec(p + ".weight"), self.vec(p + ".bias"), epsilon=self.eps, axis=-1)

    def heads_of(self, x):
        x = self.op("Reshape", x, self.const([0, 0, self.heads, self.h // self.heads], np.int64))
        return self.op("Transpose", x, perm=[0, 2, 1, 3])

    def plain_layer(self, x, p):
        q, k, v = (self.heads_of(self.dense(x, p + "attention.self." + s)) for s in ("query", "key", "value"))
        s = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        s = self.op("Softmax", self.op("Div", s, self.const(math.sqrt(self.h // self.heads), np.float32)), axis=-1)
        c = self.op("Transpose", self.op("MatMul", s, v), perm=[0, 2, 1, 3])
        c = self.op("Reshape", c, self.const([0, 0, self.h], np.int64))
        x = self.norm(self.op("Add", self.dense(c, p + "attention.output.dense"), x), p + "attention.output.LayerNorm")
        g = self.dense(x, p + "intermediate.dense")
        half = self.op("Mul", g, self.op("Add", self.op("Erf", self.op("Div", g, self.const(math.sqrt(2), np.float32))),
                                         self.const(1, np.float32)))
        g = self.op("Mul", half, self.const(0.5, np.float32))
        return self.norm(self.op("Add", self.dense(g, p + "output.dense"), x), p + "output.LayerNorm")

    def fused_layer(self, x, p):
        s = p + "attention.self."
        w = np.concatenate([self.w[s + n + ".weight"].T for n in ("query", "key", "value")], 1)
        b = np.concatenate([self.w[s + n + ".bias"] for n in ("query", "key", "value")])
        c = self.ms("Attention", x, self.const(w), self.const(b), num_heads=self.heads)
        o = p + "attention.output."
        x = self.skip_norm(self.op("MatMul", c, self.mat(o + "dense.weight")), x, o + "LayerNorm", o + "dense.bias")
        g = self.ms("BiasGelu", self.op("MatMul", x, self.mat(p + "intermediate.dense.weight")), self.vec(p + "intermediate.dense.bias"))
        o = p + "output."
        return self.skip_norm(self.op("MatMul", g, self.mat(o + "dense.weight")), x, o + "LayerNorm", o + "dense.bias")

    def skip_norm(self, x, skip, p, bias):
        return self.ms("SkipLayerNormalization", x, skip, self.vec(p + ".weight"), self.vec(p + ".bias"), self.vec(bias), epsilon=self.eps)

    def build(self, fused):
        e = "embeddings."
        first = self.w[e + "position_embeddings.weight"] + self.w[e + "token_type_embeddings.weight"][0]
        length = self.op("Shape", "ids", start=1, end=2)
        place = self.op("Slice", self.const(first), self.const([0], np.int64), length)
        x = self.op("Add", self.op("Gather", self.vec(e + "word_embeddings.weight"), "ids"), place)
        x = self.norm(x, e + "LayerNorm")
        for i in range(self.c["num_hidden_layers"]):
            x = (self.fused_layer if fused else self.plain_layer)(x, f"encoder.layer.{i}.")
        mean = self.op("ReduceMean", x, self.const([1], np.int64), keepdims=0)
        self.nodes.append(helper.make_node("LpNormalization", [mean], ["vector"], axis=-1, p=2))
        graph = helper.make_graph(self.nodes, "encoder", [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"])],
                                  [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", self.h])], self.init)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)], ir_version=9)


def models(folder, out):
    """Writes the four models into `out`; returns {name: path}."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    folder, out, made = pathlib.Path(folder), pathlib.Path(out), {}
    w, config = weights(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    for name in ("plain", "fused"):
        made[f"{name} fp32"] = out / f"{name}.onnx"
        onnx.save(Graph(w, config).build(name == "fused"), str(made[f"{name} fp32"]))
        for per_channel in (False, True):
            kind = f"{name} int8" + (" per channel" if per_channel else "")
            made[kind] = out / f"{kind.replace(' ', '-')}.onnx"
            quantize_dynamic(str(out / f"{name}.onnx"), str(made[kind]), weight_type=QuantType.QInt8, per_channel=per_channel,
                             extra_options={"DefaultTensorType": TensorProto.FLOAT})
    return made


def session(path, threads):
    import onnxruntime as ort
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.inter_op_num_threads = threads, 1
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return ort.InferenceSession(str(path), o, providers=["CPUExecutionProvider"])
