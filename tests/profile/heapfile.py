"""Reads dumps for the tests, written from docs/format.md and apart from the tools: what both say of
a file, the file says."""
import math
import struct
import zlib

KINDS = {1: 'process', 2: 'strings', 3: 'modules', 4: 'frames', 5: 'stacks', 6: 'samples',
         7: 'classes', 8: 'maps', 9: 'nodes', 10: 'frees', 11: 'series', 12: 'regions'}

PROCESS = ('time_ns start_time_ns uptime_ns pid parent_pid uid dump_number exe command host library '
           'rate seed unwinder depth page_size threads samples_taken samples_dropped pause_ns '
           'live_bytes live_objects allocated_objects cached_bytes fragmented_bytes purgeable_bytes '
           'metadata_bytes profile_bytes rss_bytes').split()

RECORDS = {
    'process': ('<3Q8I2Q4I12Q', PROCESS),
    'frees': ('<I2H2BHIQ2d', 'stack node on lifetime flags reserved reserved2 samples objects '
                             'bytes'.split()),
    'modules': ('<3Q3I36s', 'start end bias path flags build_id_size build_id'.split()),
    'stacks': ('<Q2I2Q4d', 'frame depth flags allocated_samples freed_samples allocated_objects '
                           'allocated_bytes freed_objects freed_bytes'.split()),
    'samples': ('<6Q3I2H', 'serial address size coin rate age_ns stack thread node resizes '
                           'flags'.split()),
    'regions': ('<4Q2I2HI', 'start end rss_bytes age_ns stack thread kind access reserved'.split()),
    'classes': ('<Q2I5Q', 'size kind reserved pages live_objects live_bytes free_objects '
                          'stranded_bytes'.split()),
    'maps': ('<6QI2H', 'start end file_offset rss_bytes dirty_bytes swap_bytes path kind '
                       'access'.split()),
}


class Dump:
    def __init__(self, path):
        with open(path, 'rb') as file:
            data = file.read()
        magic, version, header_size, count, entry_size, file_size, _, checksum = \
            struct.unpack_from('<8s4IQ2I', data)
        assert magic == b'memprof\x1a' and version == 1 and file_size == len(data), path
        table_end = header_size + count * entry_size
        start = bytearray(data[:table_end])
        start[36:40] = bytes(4)
        assert zlib.crc32(start) == checksum, path + ': header checksum'
        raw = {}
        at = table_end
        for i in range(count):
            kind, record_size, offset, records, size, crc, _ = \
                struct.unpack_from('<2I3Q2I', data, header_size + i * entry_size)
            assert offset == at and zlib.crc32(data[offset:offset + size]) == crc, (path, kind)
            at += size
            raw[KINDS[kind]] = (data[offset:offset + size], record_size, records)
        assert at == file_size, path
        self.strings = raw['strings'][0]
        for name, (layout, fields) in RECORDS.items():
            body, record_size, records = raw[name]
            setattr(self, name, [dict(zip(fields, struct.unpack_from(layout, body, i * record_size)))
                                 for i in range(records)])
        body, _, records = raw['frames']
        self.frames = struct.unpack_from('<%dQ' % records, body)
        self.process = self.process[0]

    def text(self, offset):
        return self.strings[offset:self.strings.index(b'\0', offset)].decode(errors='replace')

    def stack_frames(self, stack):
        return self.frames[stack['frame']:stack['frame'] + stack['depth']]


def weight(sample):
    if sample['rate'] <= 1:
        return 1.0
    return 1 / -math.expm1(-sample['coin'] / sample['rate'])
