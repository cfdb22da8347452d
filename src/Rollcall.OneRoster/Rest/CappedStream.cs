namespace Rollcall.OneRoster.Rest;

/// <summary>Passes a response through until it is larger than allowed.</summary>
/// <param name="inner">The response.</param>
/// <param name="most">How many bytes are allowed.</param>
/// <param name="ended">Called when all of it has been read; may be called again.</param>
internal sealed class CappedStream(Stream inner, long most, Action ended) : Stream
{
    private long left = most;

    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => false;
    public override long Length => throw new NotSupportedException();
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        Count(await inner.ReadAsync(buffer, cancellationToken), buffer.Length);

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => Count(inner.Read(buffer, offset, count), count);

    public override void Flush() { }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    private int Count(int got, int wanted)
    {
        if (got == 0 && wanted > 0)
        {
            ended();
        }

        left -= got;
        return left < 0 ? throw new BodyTooLargeException() : got;
    }
}

/// <summary>The response passed the limit.</summary>
internal sealed class BodyTooLargeException() : Exception("The response is too large.");
