using System.Buffers;
using System.Text;

namespace Rollcall.OneRoster.Csv;

/// <summary>Reads comma-separated rows (RFC 4180) and refuses to guess: a quote that is not closed or stands where none may stand ends the
/// reading, since every row after it could be read wrongly. See <c>docs/decisions</c> for why this is not a library's reader.</summary>
internal sealed class CsvRowReader : IDisposable
{
    private static readonly SearchValues<char> s_plainEnd = SearchValues.Create(",\r\n\"");
    private readonly Stream stream;
    private readonly CsvLimits limits;
    private readonly Windows1252Fallback fallback = new();
    private readonly byte[] bytes = ArrayPool<byte>.Shared.Rent(64 * 1024);
    private readonly List<(int Start, int Length)> fields = [];
    private Decoder? decoder;
    private char[] chars = ArrayPool<char>.Shared.Rent(64 * 1024);
    private int rowStart;
    private int end;
    private bool atEnd;
    private bool afterReturn;
    private long line = 1;

    public CsvRowReader(Stream stream, CsvLimits limits)
    {
        this.stream = stream;
        this.limits = limits;
    }

    /// <summary>The line on which the row begins, from 1.</summary>
    public long Row { get; private set; }

    public int Count => fields.Count;

    public ReadOnlySpan<char> this[int field] => chars.AsSpan(fields[field].Start, fields[field].Length);

    /// <summary>A field of this row holds a line break.</summary>
    public bool HasLineBreak { get; private set; }

    public string Encoding { get; private set; } = "UTF-8";
    public long ForeignBytes => fallback.Bytes;
    public long ReplacedCharacters { get; private set; }
    public bool MixedLineEnds => LineEnds > 1;

    /// <summary>Lines between others with nothing in them, or with commas alone.</summary>
    public long EmptyRows { get; private set; }

    private int LineEnds => (sawCrLf ? 1 : 0) + (sawLf ? 1 : 0) + (sawCr ? 1 : 0);

    private bool sawCrLf;
    private bool sawLf;
    private bool sawCr;

    /// <summary>Goes to the next row that holds anything; false at the end.</summary>
    /// <exception cref="CsvSyntaxException">The rest cannot be read.</exception>
    public bool Read()
    {
        long emptied = 0;
        while (ReadRow())
        {
            var empty = true;
            for (var i = 0; i < fields.Count && empty; i++)
            {
                empty = fields[i].Length == 0;
            }

            if (!empty)
            {
                EmptyRows += emptied;
                return true;
            }

            emptied++;
        }

        return false;
    }

    public void Dispose()
    {
        ArrayPool<byte>.Shared.Return(bytes);
        ArrayPool<char>.Shared.Return(chars);
        stream.Dispose();
    }

    private bool ReadRow()
    {
        fields.Clear();
        HasLineBreak = false;
        if (afterReturn)
        {
            afterReturn = false;
            if ((rowStart < end || Fill()) && chars[rowStart] == '\n')
            {
                rowStart++;
                sawCrLf = true;
            }
            else
            {
                sawCr = true;
            }
        }

        if (rowStart == end && !Fill())
        {
            return false;
        }

        Row = line;
        var at = 0;
        while (true)
        {
            at = Peek(at) == '"' ? Quoted(at) : Plain(at);
            var next = Peek(at);
            if (next == ',')
            {
                at++;
                if (fields.Count >= limits.Columns)
                {
                    throw new CsvSyntaxException("too-many-columns", $"the row has more than {limits.Columns} columns", Row);
                }

                continue;
            }

            // The row's fields were counted from its start; they hold once nothing is moved any more.
            for (var i = 0; i < fields.Count; i++)
            {
                fields[i] = (fields[i].Start + rowStart, fields[i].Length);
            }

            if (next is '\r' or '\n')
            {
                line++;
                afterReturn = next == '\r';
                sawLf |= next == '\n';
                at++;
            }

            rowStart += at;
            return true;
        }
    }

    /// <summary>A field without quotes. Positions are relative to the row's start, since filling moves the row.</summary>
    private int Plain(int start)
    {
        var at = start;
        while (true)
        {
            var found = chars.AsSpan(rowStart + at, end - rowStart - at).IndexOfAny(s_plainEnd);
            if (found >= 0)
            {
                at += found;
                break;
            }

            at = end - rowStart;
            CheckLength(at - start);
            if (!Fill())
            {
                break;
            }
        }

        if (Peek(at) == '"')
        {
            throw new CsvSyntaxException("broken-quoting", "a quotation mark stands inside a field that does not begin with one", line);
        }

        CheckLength(at - start);
        fields.Add((start, at - start));
        return at;
    }

    private int Quoted(int start)
    {
        var opened = line;
        var at = start + 1;
        var write = at;
        while (true)
        {
            var span = chars.AsSpan(rowStart + at, end - rowStart - at);
            var found = span.IndexOf('"');
            var length = found < 0 ? span.Length : found;
            CountLines(span[..length]);
            if (write != at)
            {
                span[..length].CopyTo(chars.AsSpan(rowStart + write));
            }

            at += length;
            write += length;
            CheckLength(write - start, opened);
            if (found < 0)
            {
                if (!Fill())
                {
                    throw new CsvSyntaxException(
                        "unclosed-quote",
                        "the file ends inside a quoted field: a quotation mark is not closed, or the end is missing",
                        opened
                    );
                }

                continue;
            }

            at++;
            var next = Peek(at);
            if (next == '"')
            {
                chars[rowStart + write++] = '"';
                at++;
                continue;
            }

            if (next is not (',' or '\r' or '\n' or EndOfFile))
            {
                throw new CsvSyntaxException("broken-quoting", "text follows the closing quotation mark of a field", line);
            }

            fields.Add((start + 1, write - start - 1));
            return at;
        }
    }

    private const int EndOfFile = -1;

    private int Peek(int at) => rowStart + at < end || Fill() ? chars[rowStart + at] : EndOfFile;

    private void CountLines(ReadOnlySpan<char> text)
    {
        if (text.ContainsAny('\r', '\n'))
        {
            HasLineBreak = true;
            line += text.Count('\n');
        }
    }

    private void CheckLength(int length, long? opened = null)
    {
        if (length > limits.FieldCharacters)
        {
            throw new CsvSyntaxException(
                "field-too-long",
                $"a field is longer than {limits.FieldCharacters} characters: a quotation mark is probably not closed",
                opened ?? line
            );
        }
    }

    /// <summary>Reads more characters behind those of the row that is being read; false at the end of the file.</summary>
    private bool Fill()
    {
        if (atEnd)
        {
            return false;
        }

        if (rowStart > 0)
        {
            chars.AsSpan(rowStart, end - rowStart).CopyTo(chars);
            end -= rowStart;
            rowStart = 0;
        }

        if (end > limits.RowCharacters)
        {
            throw new CsvSyntaxException("row-too-long", $"a row is longer than {limits.RowCharacters} characters", line);
        }

        // Room for what a full buffer of bytes can become.
        const int Bytes = 32 * 1024;
        if (chars.Length - end < Bytes + 16)
        {
            var larger = ArrayPool<char>.Shared.Rent((end + Bytes + 16) * 2);
            chars.AsSpan(0, end).CopyTo(larger);
            ArrayPool<char>.Shared.Return(chars);
            chars = larger;
        }

        while (true)
        {
            var read = stream.ReadAtLeast(bytes.AsSpan(0, Bytes), decoder is null ? 4 : 1, throwOnEndOfStream: false);
            var from = 0;
            if (decoder is null)
            {
                (decoder, Encoding, from) = CsvEncoding.Of(bytes.AsSpan(0, read), fallback);
            }

            atEnd = read == 0;
            var made = decoder.GetChars(bytes.AsSpan(from, read - from), chars.AsSpan(end), flush: atEnd);
            Clean(chars.AsSpan(end, made));
            end += made;
            if (made > 0 || atEnd)
            {
                return made > 0;
            }
        }
    }

    /// <summary>Databases take no NUL.</summary>
    private void Clean(Span<char> text)
    {
        if (text.Contains('\0'))
        {
            ReplacedCharacters += text.Count('\0');
            text.Replace('\0', '\uFFFD');
        }
    }
}
