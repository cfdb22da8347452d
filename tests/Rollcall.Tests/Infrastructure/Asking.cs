using Rollcall.Operations;

namespace Rollcall.Tests.Infrastructure;

/// <summary>What tests ask for where it does not matter who does.</summary>
internal static class Asking
{
    public static Task CancelAsync(this OperationQueue queue, int district, long id, CancellationToken cancellationToken = default) =>
        queue.CancelAsync(district, id, "test", cancellationToken);
}
