"""placeholder"""
from __future__ import annotations
from typing import Any
from collections.abc import Callable
import numpy as np
from onnx import helper, numpy_helper
import onnx_graphsurgeon as gs
from onnxscope.graph import *
from onnxscope.graph import Tensor
Lift = Callable[[Any, Any], Any]
def identity(w, n): return n[0]
def const(w, n):
    if "value" in n.attrs:
        from onnxscope.normalise import constant_of
        t=n.attrs["value"]; c=constant_of(t); t.name=w.b.unique(n.name+"/value"); c.name=t.name; return c
    k,v=next(iter(n.attrs.items()))
    return w.b.constant(np.asarray(v, dtype=np.float32 if "float" in k else np.int64))
def shape(w,n):
    s=list(shape_of(n[0])); return w.b.constant(np.asarray(s[n.attrs.get("start",0):n.attrs.get("end",len(s))],dtype=np.int64))
def axes13(key):
    def f(w,n):
        if key in n.attrs: 
            a=n.attrs.pop(key); return w.emit(n, inputs=[n[0], w.b.constant(np.asarray(a,dtype=np.int64))])
    return f
def clip(w,n):
    if n.opset<11:
        return w.b.op("Clip", n[0], float(n.attrs.get("min",-3.4e38)), float(n.attrs.get("max",3.4e38)), node_name=n.name)
def autopad(w,n):
    ap=n.attrs.pop("auto_pad","NOTSET")
    if ap in("NOTSET","VALID"): n.attrs.pop("auto_pad",None); return
    k=n.attrs.get("kernel_shape") or list(shape_of(n[1])[2:])
    s=n.attrs.get("strides",[1]*len(k)); d=n.attrs.get("dilations",[1]*len(k))
    x=shape_of(n[0])[2:]
    tot=[max((-(-xx//ss)-1)*ss+(kk-1)*dd+1-xx,0) for xx,ss,kk,dd in zip(x,s,k,d)]
    lo=[t//2 if ap=="SAME_UPPER" else t-t//2 for t in tot]
    n.attrs["pads"]=lo+[t-l for t,l in zip(tot,lo)]
def gap(w,n): return None
def slice_(w,n):
    if "starts" in n.attrs:
        a=n.attrs; c=lambda v:w.b.constant(np.asarray(v,dtype=np.int64))
        st,en=a.pop("starts"),a.pop("ends"); ax=a.pop("axes",list(range(len(st))))
        return w.emit(n,inputs=[n[0],c(st),c(en),c(ax)])
def pad_(w,n):
    if "pads" in n.attrs:
        p=n.attrs.pop("pads"); v=n.attrs.pop("value",0.0)
        return w.emit(n,inputs=[n[0],w.b.constant(np.asarray(p,dtype=np.int64)),w.b.constant(np.float32(v))])
def softmax(w,n):
    if n.opset<13:
        ax=n.attrs.get("axis",1)
        s=shape_of(n[0]); ax%=len(s)
        if ax!=len(s)-1:
            flat=w.b.Reshape(n[0],[numel(s[:ax]),-1]); return w.b.Reshape(w.b.op(n.op,flat,axis=-1), list(s))
        n.attrs["axis"]=ax
def upsample(w,n):
    if n.opset<10: sc=n.attrs.get("scales") if len(n.inputs)<2 else n[1]
    if not isinstance(sc,gs.Constant): sc=w.b.constant(np.asarray(sc,dtype=np.float32))
    return w.b.op("Resize",n[0],None,sc,node_name=n.name,mode=n.attrs.get("mode","nearest"),coordinate_transformation_mode="asymmetric",nearest_mode="floor")
def split_(w,n):
    if n.opset<13 and "split" in n.attrs:
        s=n.attrs.pop("split"); return w.emit(n,inputs=[n[0],w.b.constant(np.asarray(s,dtype=np.int64))])
    if n.opset<18 and len(n.inputs)<2: return w.emit(n,num_outputs=len(n.proto.output))
LIFTS={"Identity":identity,"Dropout":identity,"Constant":const,"Shape":shape,"Unsqueeze":axes13("axes"),"Squeeze":axes13("axes"),"Clip":clip,"Conv":autopad,"MaxPool":autopad,"AveragePool":autopad,"ConvTranspose":autopad,"Slice":slice_,"Pad":pad_,"Softmax":softmax,"Upsample":upsample,"Split":split_,"ReduceMean":axes13("axes"),"ReduceSum":axes13("axes"),"ReduceMax":axes13("axes")}
