using System.Text;

namespace Rollcall.OneRoster.Csv;

/// <summary>Which encoding a file is in, by its first bytes. UTF-8 is what OneRoster asks for; bytes that are none are read one by one as
/// Windows-1252, which is what they are when an older system writes names with accents.</summary>
internal static class CsvEncoding
{
    private static readonly string s_high = High();

    /// <summary>The encoding, its name, and how many bytes of mark come first.</summary>
    public static (Decoder Decoder, string Name, int Mark) Of(ReadOnlySpan<byte> start, Windows1252Fallback fallback)
    {
        if (start is [0xEF, 0xBB, 0xBF, ..])
        {
            return (Utf8(fallback), "UTF-8", 3);
        }

        if (start is [0xFF, 0xFE, ..] or [not 0, 0, not 0, 0, ..])
        {
            return (new UnicodeEncoding(bigEndian: false, byteOrderMark: false).GetDecoder(), "UTF-16", start[0] == 0xFF ? 2 : 0);
        }

        return start is [0xFE, 0xFF, ..] or [0, not 0, 0, not 0, ..]
            ? (new UnicodeEncoding(bigEndian: true, byteOrderMark: false).GetDecoder(), "UTF-16", start[0] == 0xFE ? 2 : 0)
            : (Utf8(fallback), "UTF-8", 0);
    }

    /// <summary>The character of a byte from 0x80 up.</summary>
    public static char Windows1252(byte value) => value < 0x80 ? (char)value : s_high[value - 0x80];

    private static Decoder Utf8(Windows1252Fallback fallback) =>
        Encoding.GetEncoding("utf-8", EncoderFallback.ReplacementFallback, fallback).GetDecoder();

    private static string High()
    {
        var bytes = new byte[128];
        for (var i = 0; i < bytes.Length; i++)
        {
            bytes[i] = (byte)(0x80 + i);
        }

        // Five places of the page are empty; the platform fills them with control characters.
        return new string([
            .. CodePagesEncodingProvider.Instance.GetEncoding(1252)!.GetString(bytes).Select(c => c < '\u00A0' ? '\uFFFD' : c),
        ]);
    }
}

/// <summary>Reads bytes that are no UTF-8 as Windows-1252, and counts them.</summary>
internal sealed class Windows1252Fallback : DecoderFallback
{
    /// <summary>Bytes read so.</summary>
    public long Bytes { get; private set; }

    public override int MaxCharCount => 4;

    public override DecoderFallbackBuffer CreateFallbackBuffer() => new Buffer(this);

    private sealed class Buffer(Windows1252Fallback owner) : DecoderFallbackBuffer
    {
        private readonly char[] chars = new char[4];
        private int count;
        private int at;

        public override int Remaining => count - at;

        public override bool Fallback(byte[] bytesUnknown, int index)
        {
            at = 0;
            count = Math.Min(bytesUnknown.Length, chars.Length);
            for (var i = 0; i < count; i++)
            {
                chars[i] = CsvEncoding.Windows1252(bytesUnknown[i]);
            }

            owner.Bytes += count;
            return true;
        }

        public override char GetNextChar() => at < count ? chars[at++] : '\0';

        public override bool MovePrevious()
        {
            if (at == 0)
            {
                return false;
            }

            at--;
            return true;
        }

        public override void Reset() => at = count = 0;
    }
}
