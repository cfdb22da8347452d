using Microsoft.AspNetCore.Builder;

namespace Rollcall.Server;

/// <summary>Puts the web server together.</summary>
internal static class RollcallWeb
{
    /// <summary>Builds the server; the caller starts it.</summary>
    /// <param name="options">Where the data is.</param>
    /// <param name="urls">Addresses to listen on, separated by semicolons.</param>
    public static WebApplication Create(RollcallOptions options, string urls)
    {
        var builder = WebApplication.CreateBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        builder.WebHost.UseUrls(urls);
        builder.Services.AddRollcall(options);
        return builder.Build();
    }
}
