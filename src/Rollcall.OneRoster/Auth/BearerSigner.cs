namespace Rollcall.OneRoster.Auth;

internal sealed class BearerSigner(string token, Func<CancellationToken, Task<string?>>? refresh, string? refusal) : IRequestSigner
{
    private string current = token;

    public string Authorization(string url) => "Bearer " + current;

    public async ValueTask<bool> RefreshAsync(CancellationToken cancellationToken)
    {
        if (refresh is null)
        {
            return false;
        }

        var fresh = (await refresh(cancellationToken))?.Trim();
        if (
            string.IsNullOrEmpty(fresh)
            || fresh.AsSpan().ContainsAnyExceptInRange('!', '~')
            || string.Equals(fresh, current, StringComparison.Ordinal)
        )
        {
            return false;
        }

        current = fresh;
        return true;
    }

    public string? Refusal => refusal;

    public bool DependsOnClock => false;

    public IEnumerable<string> Secrets => [current];
}
