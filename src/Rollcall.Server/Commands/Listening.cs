using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;

namespace Rollcall.Server.Commands;

/// <summary>Addresses to listen on, and what can be wrong with them.</summary>
internal static class Listening
{
    /// <exception cref="UsageException">An address is none.</exception>
    public static void Check(string urls, string option = "--urls")
    {
        var all = Split(urls);
        if (all.Length == 0)
        {
            throw new UsageException($"{option} names no address: write it like http://127.0.0.1:5080.");
        }

        foreach (var url in all)
        {
            if (url.StartsWith("https://", StringComparison.OrdinalIgnoreCase))
            {
                throw new UsageException(
                    $"'{url}' of {option} is https: TLS ends in a server in front, which asks this one at http://127.0.0.1:5080."
                );
            }

            if (!url.StartsWith("http://", StringComparison.OrdinalIgnoreCase) || Host(url) is null)
            {
                throw new UsageException($"'{url}' of {option} is no address: write it like http://127.0.0.1:5080.");
            }

            // A server would take any name that it does not know for every address of the computer, and this one for a name.
            var address = Microsoft.AspNetCore.Http.BindingAddress.Parse(url);
            if (
                address.Port is < 0 or > 65535
                || (Host(url)!.Contains(':', StringComparison.Ordinal) && !IPAddress.TryParse(Host(url), out _))
            )
            {
                throw new UsageException($"'{url}' of {option} has no port that there is: write it like http://127.0.0.1:5080.");
            }

            if (address.PathBase.Length > 0)
            {
                throw new UsageException($"'{url}' of {option} has a path, and pages are at none: write it like http://127.0.0.1:5080.");
            }
        }
    }

    /// <summary>Refuses to be reached from other computers.</summary>
    /// <exception cref="RollcallException">An address is not this computer's own.</exception>
    public static void CheckLoopback(string urls)
    {
        if (Array.Find(Split(urls), u => !IsLoopback(u)) is { } url)
        {
            throw new RollcallException(
                $"{url} can be reached from other computers. Say under which address people come, --public-url https://library.example.org, or listen on this computer alone: --urls http://127.0.0.1:5080"
            );
        }
    }

    /// <summary>Refuses plain http from other computers.</summary>
    /// <exception cref="RollcallException">An address takes it.</exception>
    public static void CheckEncrypted(string urls)
    {
        if (Array.Find(Split(urls), u => !IsLoopback(u)) is { } url)
        {
            throw new RollcallException(
                $"{url} takes unencrypted http from other computers. Listen on this computer alone and put a server with TLS in front, or say --allow-plain-http."
            );
        }
    }

    /// <summary>Starts a server, and says in one line why it cannot.</summary>
    /// <exception cref="RollcallException">An address is in use or may not be used.</exception>
    public static async Task<T> StartAsync<T>(string urls, Func<Task<T>> start, string option = "--urls")
    {
        try
        {
            return await start();
        }
        catch (IOException e) when (IsInUse(e))
        {
            throw new RollcallException($"{urls} is in use by another program. End it, or choose another address with {option}.", e);
        }
        catch (Exception e) when (e is IOException or SocketException or InvalidOperationException or FormatException)
        {
            throw new RollcallException(
                $"{urls} cannot be listened on: {e.Message.ReplaceLineEndings(" ").TrimEnd('.')}. Choose another address with {option}.",
                e
            );
        }
    }

    public static bool IsInUse(Exception? e) =>
        e is AddressInUseException or SocketException { SocketErrorCode: SocketError.AddressAlreadyInUse }
        || (e is not null && IsInUse(e.InnerException));

    /// <summary>Shows what was said, and waits for Ctrl-C, which may come the moment somebody reads it.</summary>
    public static async Task UntilStoppedAsync(Terminal terminal, CancellationToken cancellationToken)
    {
        await terminal.Out.FlushAsync(CancellationToken.None);
        try
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // Asked to end: that is how this ends.
        }
    }

    public static bool IsLoopback(string url) =>
        Host(url) is { } host
        && (
            host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
            || (IPAddress.TryParse(host, out var address) && IPAddress.IsLoopback(address))
        );

    private static string[] Split(string urls) => urls.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    /// <summary>The host of an address; '*' and '+' stand for every address of the computer. Null when it is no address.</summary>
    private static string? Host(string url)
    {
        try
        {
            return Microsoft.AspNetCore.Http.BindingAddress.Parse(url).Host.Trim('[', ']');
        }
        catch (FormatException)
        {
            return null;
        }
    }
}
