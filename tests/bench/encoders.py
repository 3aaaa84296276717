"""The encoders alone, as quarry calls them: zstd frames and gzip members of
fixed input size, through the same libraries.
"""

import ctypes
import time

import measure

ZSTD_CHUNK = 4 << 20
GZIP_CHUNK = 1 << 20


def zstd(level):
    lib = ctypes.CDLL("libzstd.so.1")
    lib.ZSTD_createCCtx.restype = ctypes.c_void_p
    lib.ZSTD_compressBound.restype = ctypes.c_size_t
    lib.ZSTD_compressCCtx.restype = ctypes.c_size_t
    context = ctypes.c_void_p(lib.ZSTD_createCCtx())
    bound = lib.ZSTD_compressBound(ctypes.c_size_t(ZSTD_CHUNK))
    out = ctypes.create_string_buffer(bound)

    def encode(data, size):
        return lib.ZSTD_compressCCtx(
            context, out, ctypes.c_size_t(bound), data,
            ctypes.c_size_t(size), level)

    return ZSTD_CHUNK, encode


def gzip(level):
    lib = ctypes.CDLL("libdeflate.so.0")
    lib.libdeflate_alloc_compressor.restype = ctypes.c_void_p
    lib.libdeflate_gzip_compress_bound.restype = ctypes.c_size_t
    lib.libdeflate_gzip_compress.restype = ctypes.c_size_t
    context = ctypes.c_void_p(lib.libdeflate_alloc_compressor(level))
    bound = lib.libdeflate_gzip_compress_bound(
        context, ctypes.c_size_t(GZIP_CHUNK))
    out = ctypes.create_string_buffer(bound)

    def encode(data, size):
        return lib.libdeflate_gzip_compress(
            context, data, ctypes.c_size_t(size), out,
            ctypes.c_size_t(bound))

    return GZIP_CHUNK, encode


def cost(encoding, path):
    """Wall and CPU seconds of the encoder alone, reading left out."""
    kind, level = encoding.split(":")
    chunk, encode = {"zstd": zstd, "gzip": gzip}[kind](int(level))
    buffer = bytearray(chunk)
    data = (ctypes.c_char * chunk).from_buffer(buffer)
    wall = cpu = 0
    with open(path, "rb", buffering=0) as f:
        while size := f.readinto(buffer):
            begin = time.perf_counter(), time.thread_time()
            encode(data, size)
            wall += time.perf_counter() - begin[0]
            cpu += time.thread_time() - begin[1]
    return measure.Cost(wall, cpu)
